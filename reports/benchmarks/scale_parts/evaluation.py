"""What an evaluation of a 7B network takes: products from codesign's workload, the rest from one layer that runs here.

The layer is a decoder layer of Llama 2 7B with random weights, evaluated by codesign as any network is: in one thread,
float and under formats that alternate from layer to layer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from codesign.formats import Assignment, FormatPair, LayerFormats, get_format
from codesign.models.custom import CustomTask
from codesign.quality import Evaluator
from codesign.quality.quantized import quantize_weight
from codesign.workload import named_workload
from codesign.workload.catalogue import request
from codesign.workload.networks.language_model import Layer, rotary_angles

NETWORK = "llama2-7b"
TOKENS = 256  # of the layer that runs here
PAIRS = {
    "plain": ("int8", "int4:int8", "fp8_e4m3"),
    "block": ("mxfp8_e4m3", "mxfp4", "int4_g32:int8", "nvfp4"),
}
_REPEATS = 2
_COUNTED = (64, 128)  # tokens


@dataclass(frozen=True)
class Work:
    """One evaluation: the perplexity of so many windows of text."""

    windows: int
    tokens: int

    @property
    def macs(self) -> float:
        return self.windows * float(named_workload(f"{NETWORK}:prompt={self.tokens}").macs("prefill"))


class _OneLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        config = request(NETWORK, {}).entry.config
        self.layer, self.config = Layer(config), config

    def forward(self, x: Tensor) -> Tensor:
        turn = rotary_angles(self.config, 0, x.shape[1], x.device)
        found: Tensor = self.layer(x, turn, None)
        return found


def network() -> dict[str, Any]:
    """Parameters, quantized layers and decoder layers."""
    load = named_workload(NETWORK)
    decoders = request(NETWORK, {}).entry.config.layers
    return {"name": NETWORK, "parameters": load.parameters, "layers": len(load.layers), "decoder_layers": decoders}


def layer() -> dict[str, Any]:
    """One thread of this machine: seconds of the layer, float and quantized, and of quantizing its weights."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _layer()
    finally:
        torch.set_num_threads(threads)


def _layer() -> dict[str, Any]:
    torch.manual_seed(0)
    module = _OneLayer()
    task = CustomTask("layer", module, torch.randn(1, 32, 4096), torch.randn(1, TOKENS, 4096), None)
    evaluator = Evaluator(task)
    parameters = sum(p.numel() for p in module.parameters())
    with torch.inference_mode():
        task.run(module)
        float_s = _median(lambda: task.run(module))
        candidates = {name: _assignment(evaluator, pairs) for name, pairs in PAIRS.items()}
        first = {name: _seconds(lambda a=a: evaluator.outputs(a)) for name, a in candidates.items()}
        seconds = {name: _median(lambda a=a: evaluator.outputs(a)) for name, a in candidates.items()}
        more = {name: _more_bytes(evaluator, a) for name, a in candidates.items()}
    quantized = {name: (first[name] - seconds[name]) / parameters for name in PAIRS}
    return {
        "tokens": TOKENS,
        "parameters": parameters,
        "macs": task.workload().macs(),
        "float_s": float_s,
        "candidate_s": seconds,
        "ratio": {name: s / float_s for name, s in seconds.items()},
        "formats_bytes": more,
        "quantize_ns_per_weight": {name: 1e9 * s for name, s in quantized.items()},
        "quantize_bytes_per_weight": {name: _bytes_per_weight(pairs) for name, pairs in PAIRS.items()},
        "flop_per_s": 2 * task.workload().macs() / float_s,
    }


class _Moved(TorchDispatchMode):
    """Bytes of the operands and results of every operation that is no view."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        read = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        written = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        owners = {x.untyped_storage().data_ptr() for x in read}
        if func._schema.is_mutable or not all(x.untyped_storage().data_ptr() in owners for x in written):
            self.bytes += sum(x.numel() * x.element_size() for x in (*read, *written))
        return result


def _more_bytes(evaluator: Evaluator, assignment: Assignment) -> list[float]:
    """[a, b]: a quantized layer moves a * tokens + b * tokens ** 2 bytes more than the float one; weights are kept."""
    module, counted = evaluator.task.module, []
    for tokens in _COUNTED:
        x = torch.randn(1, tokens, 4096)
        with _Moved() as plain:
            module(x)
        with evaluator.network.under(assignment) as under, _Moved() as quantized:
            under(x)
        counted.append(quantized.bytes - plain.bytes)
    rows = [[tokens, tokens**2] for tokens in _COUNTED]
    return [float(v) for v in np.linalg.solve(np.array(rows, dtype=float), np.array(counted, dtype=float))]


def _bytes_per_weight(pairs: tuple[str, ...]) -> float:
    """Mean over the weight formats of these pairs."""
    weight, found = torch.randn(256, 4096), []
    for pair in pairs:
        with torch.inference_mode(), _Moved() as moved:
            quantize_weight(weight, get_format(FormatPair.parse(pair).weight), 1)
        found.append(moved.bytes / weight.numel())
    return sum(found) / len(found)


def _assignment(evaluator: Evaluator, pairs: tuple[str, ...]) -> Assignment:
    parsed = [FormatPair.parse(pair) for pair in pairs]
    return Assignment.of(
        {
            name: LayerFormats.of_pair(parsed[i % len(parsed)], attention=kind == "attention")
            for i, (name, kind) in enumerate(evaluator.layers.items())
        }
    )


def _median(do: Callable[[], object]) -> float:
    return median(_seconds(do) for _ in range(_REPEATS))


def _seconds(do: Callable[[], object]) -> float:
    started = time.perf_counter()
    do()
    return time.perf_counter() - started
