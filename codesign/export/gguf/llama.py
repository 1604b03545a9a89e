"""Running a GGUF file in llama.cpp, through its Python package."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codesign.errors import CodesignError
from codesign.export.proof import Proof, check_sqnr, sqnr_db
from codesign.export.scored import Call, ScoredNetwork

PACKAGE = "llama_cpp"
CACHES = {"fp32": 0, "fp16": 1, "bf16": 30}  # format of keys and values -> ggml_type
_CALLS = 4
# With the very formats of the design what differs is the order of sums, and a code of an activation here and there.
_LEAST_DB = 25.0
# With others, two roundings of equal size differ by the sum of their noise (3 dB), and samples are few (another 3 dB).
_MARGIN_DB = 6.0


def installed() -> bool:
    """Whether llama.cpp's Python package is there."""
    return importlib.util.find_spec(PACKAGE) is not None


def cache_of(network: ScoredNetwork) -> str:
    """The format in which llama.cpp is to keep keys and values: the network's own, float32 where it has several."""
    found = {layer.formats.key for layer in network.layers.values() if layer.formats.key is not None}
    return next(iter(found)) or "fp32" if len(found) == 1 else "fp32"


@contextmanager
def opened(file: Path, tokens: int, cache: str = "fp16", threads: int | None = None) -> Iterator[Any]:
    """A llama_cpp.Llama of a file, with room for `tokens`, which keeps all logits.

    cache: format of keys and values. Flash attention is off: with it, sums over values run in float16.
    Raises CodesignError if llama.cpp cannot load the file.
    """
    import llama_cpp

    kind, count = CACHES[cache], threads or torch.get_num_threads()
    options: dict[str, Any] = {"n_ctx": tokens, "n_batch": tokens, "n_ubatch": tokens, "logits_all": True}
    options |= {"type_k": kind, "type_v": kind, "flash_attn": False, "n_gpu_layers": 0}
    try:
        made = llama_cpp.Llama(str(file), n_threads=count, n_threads_batch=count, verbose=False, **options)
    except (ValueError, RuntimeError) as error:
        raise CodesignError(f"llama.cpp cannot load {file.name}: {str(error).splitlines()[0]}") from None
    with closing(made):
        yield made


def logits(model: Any, tokens: Sequence[int]) -> Tensor:
    """The logits after each token, float32 [tokens, vocabulary]."""
    model.reset()
    model.eval(list(tokens))
    return torch.from_numpy(model.scores[: len(tokens)].copy())


def check_outputs(network: ScoredNetwork, file: Path, proof: Proof) -> Proof:
    """`proof` with what llama.cpp computes of some calls; raises CodesignError if that is not what was scored."""
    calls = [call for call in network.calls(_CALLS) if _tokens(call) is not None]
    if not calls:
        return replace(proof, deviations=(*proof.deviations, "llama.cpp did not run it: its data are no tokens"))
    least, loss = float("inf"), float("inf")
    longest = max(_rows(call).shape[1] for call in calls)
    with opened(file, longest, cache_of(network)) as model:
        for call in calls:
            theirs = torch.stack([logits(model, row.tolist()) for row in _rows(call)])
            with torch.no_grad():
                plain = network.module(*call.args, **call.kwargs)
            least = min(least, sqnr_db(theirs, _logits(call.output)))
            loss = min(loss, sqnr_db(_logits(call.output), _logits(plain)))
    check_sqnr(least, min(_LEAST_DB, loss - _MARGIN_DB), "llama.cpp")
    return replace(proof, sqnr_db=least, loss_db=loss, calls=len(calls))


def _rows(call: Call) -> Tensor:
    tokens = _tokens(call)
    assert tokens is not None
    return tokens


def _tokens(call: Call) -> Tensor | None:
    """The tokens of a call, int64 [sequences, length]; None if it has others than these alone."""
    found = call.kwargs.get("input_ids", call.args[0] if call.args else None)
    others = {key for key, x in call.kwargs.items() if isinstance(x, Tensor)} - {"input_ids"}
    return found if isinstance(found, Tensor) and found.ndim == 2 and not others else None


def _logits(output: Any) -> Tensor:
    found: Tensor = output.logits if hasattr(output, "logits") else output[0]
    return found.detach().float()
