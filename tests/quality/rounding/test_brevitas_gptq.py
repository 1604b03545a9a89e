"""Brevitas' GPTQ and GPFQ as oracles: on integer weights ours loses no more on the layer's inputs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from codesign.formats import get_format
from codesign.models.custom import CustomTask
from codesign.quality.rounding import ChosenWeights

brevitas = pytest.importorskip("brevitas.nn", reason="Brevitas is in the extra codesign[brevitas]")


def inputs(shape: tuple[int, ...]) -> Tensor:
    """Correlated along the channels, with a mean."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator)
    mixing = torch.randn(shape[1], shape[1], generator=generator) / shape[1] ** 0.5
    return torch.einsum("bc...,cd->bd...", x, mixing) + 0.3


CASES = {
    "linear": (lambda: nn.Linear(48, 24, bias=False), (256, 48)),
    "conv": (lambda: nn.Conv2d(8, 12, 3, padding=1, bias=False), (8, 8, 12, 12)),
}


def of_brevitas(module: nn.Module, x: Tensor, bits: int, mode: str) -> Tensor:
    """The weight that Brevitas rounds to `bits` per output channel by GPTQ or GPFQ, dequantized."""
    from brevitas.graph.gpfq import gpfq_mode
    from brevitas.graph.gptq import gptq_mode
    from brevitas.quant.scaled_int import Int8WeightPerChannelFloat

    quantizer = Int8WeightPerChannelFloat.let(bit_width=bits, narrow_range=True)
    if isinstance(module, nn.Linear):
        layer = brevitas.QuantLinear(48, 24, bias=False, weight_quant=quantizer)
    else:
        layer = brevitas.QuantConv2d(8, 12, 3, padding=1, bias=False, weight_quant=quantizer)
    layer.weight.data = module.weight.detach().clone()
    network = nn.Sequential(layer).eval()
    context = gptq_mode(network, act_order=False) if mode == "gptq" else gpfq_mode(network)
    with torch.no_grad(), context as found:
        for _ in range(found.num_layers):
            found.model(x)
            found.update()
        weight: Tensor = layer.quant_weight().value
    return weight.detach()


@pytest.mark.parametrize("bits", [3, 4])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("mode", ["gptq", "gpfq"])
def test_gptq_loses_no_more_than_that_of_brevitas(name: str, bits: int, mode: str) -> None:
    torch.manual_seed(0)
    make, shape = CASES[name]
    module, x = make().eval(), inputs(shape)
    task = CustomTask("layer", nn.Sequential(module), x, x, None)
    fmt = get_format(f"int{bits}")
    chosen = ChosenWeights(task).of_layer("0", fmt, "gptq")
    assert chosen is not None

    def loss(weight: Tensor) -> float:
        exact = module(x)
        other = type(module).forward  # the same layer with another weight
        kept = module.weight.data
        module.weight.data = weight.reshape(kept.shape)
        try:
            return float((other(module, x) - exact).square().mean())
        finally:
            module.weight.data = kept

    with torch.no_grad():
        rows = chosen.dequantize()
        ours = rows if rows.ndim == 2 and name == "linear" else rows.reshape(12, 9, 8).transpose(1, 2)
        nearest = loss(fmt.fake_quantize(module.weight.flatten(1), axis=1))
        theirs, found = loss(of_brevitas(module, x, bits, mode)), loss(ours)
    assert found < 0.8 * nearest
    assert found <= 1.05 * theirs
