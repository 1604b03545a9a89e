"""Weights of Brevitas layers whose scales are given: the very codes and scales that were measured."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from codesign.errors import InputError
from codesign.export.given import GivenScales, GivenZeroPoints
from codesign.export.quantizers import takes_scales
from codesign.formats import Assignment, Format, IntElement, get_format
from codesign.formats.format import Quantized, datapath
from codesign.quality.rounding import ChosenWeights

_Given = TypeVar("_Given", GivenScales, GivenZeroPoints)
ROOT = "root"  # codesign.workload's name of the module itself


def given_weights(module: nn.Module, assignment: Assignment, chosen: ChosenWeights) -> dict[str, Quantized]:
    """Layer -> its rounded weight as rows [N, T, C] or [N, T * C], of the layers whose scales are given.

    module: the float network; the layers are convolutions and linear layers of it. Raises InputError if their weights
    are not float32, in which Brevitas computes with the scales.
    """
    found: dict[str, Quantized] = {}
    for layer, formats in assignment.layers:
        if not takes_scales(formats):
            continue
        assert formats.weight is not None
        fmt = get_format(datapath(formats.weight))
        weight: Tensor = (module if layer == ROOT else module.get_submodule(layer)).get_parameter("weight").detach()
        if weight.dtype != torch.float32:
            kind = str(weight.dtype).removeprefix("torch.")
            raise InputError(
                f"layer '{layer}': Brevitas takes the scales of {formats.choice} for a float32 weight, not for one in "
                f"{kind}: load the network in float32"
            )
        rounded = chosen.of_layer(layer, fmt, formats.method)
        found[layer] = _nearest(weight, fmt) if rounded is None else rounded
    return found


def give(network: nn.Module, weights: dict[str, Quantized]) -> None:
    """Set the weights of a Brevitas network, and their scales, to `weights`."""
    for layer, quantized in weights.items():
        owner = network if layer == ROOT else network.get_submodule(layer)
        weight, scaling = owner.get_parameter("weight"), _given(owner, GivenScales)
        rows = quantized.dequantize().reshape(len(weight), -1, weight.shape[1])  # [N, T, C]
        weight.data = rows.transpose(1, 2).reshape(weight.shape).contiguous()
        scales = _scales(quantized)
        scales = scales.reshape(len(weight), -1, scales.shape[-1])  # [N, 1 or T, 1 or blocks]
        scaling.value.copy_(scales.transpose(1, 2).reshape(scaling.value.shape))
        if quantized.zero_points is not None:
            found = quantized.zero_points.to(torch.float32).reshape(scales.shape)
            given = _given(owner, GivenZeroPoints)
            given.value.copy_(found.transpose(1, 2).reshape(given.value.shape))


def _nearest(weight: Tensor, fmt: Format) -> Quantized:
    rows = weight.flatten(2).transpose(1, 2) if weight.ndim > 2 else weight[:, None]  # [N, T, C]
    return fmt.quantize(rows if fmt.is_block else rows.flatten(1), axis=-1)


def _scales(quantized: Quantized) -> Tensor:
    """Scales of what Brevitas multiplies by them: whole numbers where elements are integers."""
    scales, element = quantized.scales, quantized.format.element
    assert scales is not None
    if quantized.tensor_scale is not None:
        scales = scales * quantized.tensor_scale
    return scales * 2.0**-element.fraction_bits if isinstance(element, IntElement) else scales


def _given(layer: nn.Module, kind: type[_Given]) -> _Given:
    (found,) = (part for part in layer.get_submodule("weight_quant").modules() if isinstance(part, kind))
    return found
