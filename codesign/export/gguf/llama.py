"""Running a GGUF file in llama.cpp, through its Python package."""

from __future__ import annotations

import importlib.util
import math
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
from codesign.formats import Assignment
from codesign.targets import get_target

PACKAGE = "llama_cpp"
CACHES = {"fp32": 0, "fp16": 1, "bf16": 30}  # format of keys and values -> ggml_type
_CALLS = 4
_MARGIN_DB = 3.0  # of 80 calls of 40 drawn designs none was further than 1.2 dB beyond the sum of the noises
_MOST_DB = 50.0  # what sums in float32 in another order, and its own exponentials, leave of a network in float32


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


def check_outputs(network: ScoredNetwork, file: Path, proof: Proof, *, most: int | None = None) -> Proof:
    """`proof` with what llama.cpp computes of some calls; raises CodesignError if that is not what was scored.

    most: tokens of a sequence that are compared, the first ones.

    Rounded activations make a network chaotic: where a sum differs in its last bits, a few codes of the next layer
    differ by one, and after some layers the noise of rounding is another one of the same size. So llama.cpp may be as
    far from the scored network as the noises of both together, of the rounding of activations alone, and 3 dB.
    """
    calls = [call for call in network.calls(_CALLS) if _tokens(call) is not None]
    if not calls:
        return replace(proof, deviations=(*proof.deviations, "llama.cpp did not run it: its data are no tokens"))
    found, loss, least = [], [], []
    alike, plain = (list(_run(network, assignment, calls)) for assignment in (_as_computed(network), _weights(network)))
    with opened(file, max(_rows(call).shape[1] for call in calls), cache_of(network)) as model:
        for call, same, unrounded in zip(calls, alike, plain, strict=True):
            scored = _logits(call.output)[:, :most]
            theirs = torch.stack([logits(model, row.tolist()) for row in _rows(call)[:, :most]])
            found.append(sqnr_db(theirs, scored))
            noises = (10 ** (-sqnr_db(each, unrounded[:, :most]) / 10) for each in (scored, same[:, :most]))
            least.append(min(_MOST_DB, -10 * math.log10(sum(noises)) - _MARGIN_DB))
            with torch.no_grad():
                loss.append(sqnr_db(scored, _logits(network.module(*call.args, **call.kwargs))[:, :most]))
    for each, wanted in zip(found, least, strict=True):
        check_sqnr(each, wanted, "llama.cpp")
    return replace(proof, sqnr_db=min(found), loss_db=min(loss), calls=len(calls))


def _as_computed(network: ScoredNetwork) -> Assignment:
    """The assignment with the activations that llama.cpp computes with."""
    target, cache = get_target("llama.cpp"), cache_of(network)
    made = {}
    for name, layer in network.layers.items():
        if layer.formats.weight is None:
            made[name] = replace(layer.formats, activation=cache, key=cache, value=cache)
        else:
            instead = target.instead(layer.rules, layer.pair)
            made[name] = replace(layer.formats, activation=instead or layer.formats.activation)
    return Assignment.of(made)


def _weights(network: ScoredNetwork) -> Assignment:
    """The assignment with activations, keys and values that are not rounded."""
    made = {}
    for name, layer in network.layers.items():
        cached = {} if layer.formats.weight is not None else {"key": "fp32", "value": "fp32"}
        made[name] = replace(layer.formats, activation="fp32", **cached)
    return Assignment.of(made)


def _run(network: ScoredNetwork, assignment: Assignment, calls: Sequence[Call]) -> Iterator[Tensor]:
    with torch.no_grad(), network.evaluator.network.under(assignment) as module:
        for call in calls:
            yield _logits(module(*call.args, **call.kwargs))


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
