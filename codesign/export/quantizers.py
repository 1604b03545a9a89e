"""Brevitas quantizers for the formats of this package, with the same element, scale and range.

Formats of Brevitas 0.13, configured here so that every rounded number is the same:

``int2`` .. ``int16``              narrow range, float scale: per output channel (weights), per tensor (activations)
``fp8_e4m3 fp8_e5m2 fp6_* fp4_e2m1``  the OCP minifloats with the same scales
``mxfp8_* mxfp6_* mxfp4 mxint8``   groups of 32 along the contraction, power-of-two scale, rule floor
``bf16 fp16``                      minifloats without a scale; ``fp32`` is no quantizer

Brevitas computes no groups with a float16 scale (``int4_g32``), no two-level scale (``nvfp4``) and no other rule for
block scales. Weights have them all the same, with `GivenScales` that are part of the layer's state, and so have
weights whose scales a method has chosen; activations do not. Brevitas' zero points are computed from other statistics
(``..._zp``), and none of its quantizers for convolutions, linear layers and attention alike takes a scale per token
from the data (``..._token``): these are not supported.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

import torch
from torch import Tensor, nn

from codesign.errors import InputError
from codesign.formats import FloatElement, Format, IntElement, LayerFormats, format_names, get_format
from codesign.formats.assignment import NEAREST
from codesign.formats.format import datapath

Quantizer = Any  # a Brevitas injector class; the package carries no types


class GivenScales(nn.Module):
    """A scaling for a weight quantizer that takes the scales of the state, whatever the weight's statistics are.

    value: float32, one for each output channel [N, 1, ...] or group [N, groups, 1, ...], in the shape that Brevitas
    gives to scales of the layer's weight.
    """

    value: Tensor

    def __init__(self, scaling_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("value", torch.ones(scaling_shape))

    def forward(self, x: Tensor, threshold: Tensor | None = None) -> Tensor:
        return self.value


def computed(fmt: Format) -> bool:
    """Whether Brevitas can compute the scales of `fmt`: those of activations are, each time."""
    if fmt.is_cast:
        return True
    if fmt.has_zero_point or fmt.per_token:
        return False
    return fmt.rule == ("floor" if fmt.is_block else "absmax")


def supported(fmt: Format, role: str) -> bool:
    """Whether `fmt` can be exported to Brevitas for a role, ``weight`` or that of an activation."""
    return computed(fmt) or (role == "weight" and not fmt.has_zero_point and not fmt.per_token)


@functools.cache
def supported_names(role: str) -> tuple[str, ...]:
    """The names of all formats that can be exported for a role."""
    return tuple(name for name in format_names() if supported(get_format(name), role))


def takes_scales(formats: LayerFormats) -> bool:
    """Whether the weight of a layer has `GivenScales`."""
    if formats.weight is None:
        return False
    fmt = get_format(datapath(formats.weight))
    return not fmt.is_cast and (formats.method != NEAREST or not computed(fmt))


def require_brevitas() -> None:
    """Raise InputError, with the package to install, unless Brevitas can be imported."""
    try:
        importlib.import_module("brevitas.nn")
    except ImportError as error:
        raise InputError(f"Brevitas is needed for this export ({error}): pip install codesign[brevitas]") from None


@functools.cache
def weight_quantizer(fmt: Format, *, given: bool = False) -> Quantizer:
    """A quantizer for a layer's ``weight_quant``; scales come from the weight, one per output channel or block.

    given: whether they are `GivenScales`.
    """
    found = _injector(fmt, weight=True)
    return found.let(scaling_impl=GivenScales) if given else found


def activation_quantizer(fmt: Format, group_axis: int, amax: float | None) -> Quantizer:
    """A quantizer for ``input_quant`` and `QuantIdentity`.

    Args:
        fmt: the format.
        group_axis: axis of the blocks of a block format, whose scales come from the data.
        amax: calibrated range of a plain format; it becomes a parameter of the Brevitas module, and so part of its
            state.
    """
    base = _injector(fmt, weight=False)
    if base is None or fmt.is_cast:
        return base
    if fmt.is_block:
        return base.let(group_dim=group_axis)
    # an activation that was zero throughout calibration gets scale 1, as in codesign.formats
    return base.let(scaling_init=float(amax) if amax else fmt.max_value)


@functools.cache
def _injector(fmt: Format, *, weight: bool) -> Quantizer:
    if fmt.name == "fp32":
        return None
    if isinstance(fmt.element, IntElement):
        return _integer(fmt, fmt.element, weight)
    return _minifloat(fmt, fmt.element, weight)


def _integer(fmt: Format, element: IntElement, weight: bool) -> Quantizer:
    from brevitas.core.scaling import IntScaling
    from brevitas.inject.enum import ScalingImplType
    from brevitas.quant.mx_quant_ocp import MXInt8Act, MXInt8Weight
    from brevitas.quant.scaled_int import Int8ActPerTensorFloat, Int8WeightPerChannelFloat

    shape = {"bit_width": element.bits, "narrow_range": element.narrow}
    if fmt.scaling is not None and fmt.scaling.block is not None:
        # Brevitas divides by 2**7 and so clips the top binade of each block. OCP Microscaling 5.3.4 has 6 fraction
        # bits, which is what the floor of the narrow range's 127 to a power of two gives.
        group = (MXInt8Weight if weight else MXInt8Act).let(group_size=fmt.scaling.block)
        return group.let(int_scaling_impl=IntScaling, **shape)
    if weight:
        return Int8WeightPerChannelFloat.let(**shape)
    return Int8ActPerTensorFloat.let(scaling_impl_type=ScalingImplType.PARAMETER, **shape)


def _minifloat(fmt: Format, element: FloatElement, weight: bool) -> Quantizer:
    from brevitas.inject.enum import ScalingImplType
    from brevitas.quant import float_quant_ocp as ocp
    from brevitas.quant.mx_quant_ocp import MXFloat8e4m3Act, MXFloat8e4m3Weight

    shape = {
        "bit_width": element.bits,
        "exponent_bit_width": element.exponent_bits,
        "mantissa_bit_width": element.mantissa_bits,
    }
    if fmt.is_cast:
        # explicit, because Brevitas knows the special codes of 8-bit types only
        return (ocp.FpOCPWeight if weight else ocp.FpOCPAct).let(max_available_float=element.max_value, **shape)
    if fmt.scaling is not None and fmt.scaling.block is not None:
        return (MXFloat8e4m3Weight if weight else MXFloat8e4m3Act).let(group_size=fmt.scaling.block, **shape)
    if weight:
        return ocp.FpOCPWeightPerChannelFloat.let(**shape)
    return ocp.FpOCPActPerTensorFloat.let(scaling_impl_type=ScalingImplType.PARAMETER, **shape)
