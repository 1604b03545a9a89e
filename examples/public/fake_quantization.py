"""Fake quantization of a network in plain torch, written from the formats' specifications and without codesign.

It exists to compare with: what `examples.public.equality` and the tests find equal was computed twice.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCK = 32  # elements of an MX block (OCP Microscaling Formats 1.0, section 5.1)
LARGEST = {"mxfp8_e4m3": 448.0, "mxfp4": 6.0}
LARGEST_EXPONENT = {"mxfp8_e4m3": 8, "mxfp4": 2}


def int8(x: Tensor, largest: Tensor | float) -> Tensor:
    """Symmetric, -127..127; largest: the magnitude that becomes 127, of the tensor or of each of its slices."""
    scale = largest / 127
    return (x / scale).round().clamp(-127, 127) * scale


def mx(x: Tensor, name: str, axis: int) -> Tensor:
    """Blocks along an axis, each with a power of two as its scale (section 6.3), elements rounded to even."""
    rows = x.movedim(axis, -1)
    size = rows.shape[-1]
    blocks = F.pad(rows, (0, -size % BLOCK)).unflatten(-1, (-1, BLOCK))
    amax = blocks.abs().amax(-1, keepdim=True).clamp_min(2.0**-100)
    scale = torch.exp2(torch.frexp(amax).exponent - 1.0 - LARGEST_EXPONENT[name])
    elements = (blocks / scale).clamp(-LARGEST[name], LARGEST[name])
    if name == "mxfp4":  # 1 bit of mantissa, exponents 0..2, subnormal below 1
        step = torch.exp2((torch.frexp(elements).exponent - 1.0).clamp(0, 2) - 1)
        elements = (elements / step).round() * step
    else:
        elements = elements.to(torch.float8_e4m3fn).float()
    return (elements * scale).flatten(-2)[..., :size].movedim(-1, axis).contiguous()  # kernels go by strides


def quantized(network: nn.Module, name: str, calibrate: Callable[[nn.Module], Any]) -> nn.Module:
    """A copy of a network whose linear layers and convolutions have weights and inputs in int8 or an MX format.

    int8: weights for each output channel; inputs of a layer as a whole, with the largest magnitude of the calibration.
    """
    network = copy.deepcopy(network)
    layers = [each for each in network.modules() if isinstance(each, (nn.Linear, nn.Conv2d))]
    largest = _largest(layers, lambda: calibrate(network))
    for layer in layers:
        weight, axis = layer.weight.detach(), 1 if isinstance(layer, nn.Conv2d) else -1
        if name == "int8":
            of_channels = weight.flatten(1).abs().amax(1).reshape(-1, *[1] * (weight.ndim - 1))
            layer.weight = nn.Parameter(int8(weight, of_channels), requires_grad=False)  # a tied embedding stays
        else:
            layer.weight = nn.Parameter(mx(weight, name, 1), requires_grad=False)

        def rounded(layer: nn.Module, given: tuple[Tensor, ...], axis: int = axis) -> tuple[Tensor]:
            return (int8(given[0], largest[layer]) if name == "int8" else mx(given[0], name, axis),)

        layer.register_forward_pre_hook(rounded)
    return network


def _largest(layers: Iterable[nn.Module], run: Callable[[], Any]) -> dict[nn.Module, float]:
    """The largest magnitude of each layer's input."""
    found: dict[nn.Module, float] = {}

    def see(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        found[layer] = max(found.get(layer, 0.0), float(given[0].abs().max()))

    hooks = [layer.register_forward_pre_hook(see) for layer in layers]
    with torch.no_grad():
        run()
    for hook in hooks:
        hook.remove()
    return found
