"""Brevitas quantizers for the formats of this package, with the same element, scale and range.

Formats of Brevitas 0.13, configured here so that every rounded number is the same:

``int2`` .. ``int16``              narrow range, float scale: per output channel (weights), per tensor (activations)
``fp8_e4m3 fp8_e5m2 fp6_* fp4_e2m1``  the OCP minifloats with the same scales
``mxfp8_* mxfp6_* mxfp4 mxint8``   groups of 32 along the contraction, power-of-two scale, rule floor
``bf16 fp16``                      minifloats without a scale; ``fp32`` is no quantizer

Brevitas computes no groups with a float16 scale (``int4_g32``), no two-level scale (``nvfp4``), no other rule for
block scales, zero points (``..._zp``) from other statistics, and a scale per token (``..._token``) in no quantizer for
convolutions, linear layers and attention alike. It takes modules that do, see `given`: weights have the scales and zero
points that were measured as part of the layer's state, activations those that were calibrated or, per token, those that
the format takes from the data. Only activations in groups that Brevitas computes with other scales are not supported.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from typing import Any

import torch

from codesign.errors import EnvironmentProblem
from codesign.export.given import GivenScales, GivenZeroPoints, TokenScales, TokenZeroPoints, rounds_first
from codesign.formats import FloatElement, Format, IntElement, LayerFormats, format_names, get_format
from codesign.formats.assignment import NEAREST
from codesign.formats.elements import BF16, E2M1, E2M3, E3M2, E4M3, E5M2, E8M0, FP16, FP32
from codesign.formats.format import datapath

_FLOATS = (E4M3, E5M2, E3M2, E2M3, E2M1, FP16, BF16, FP32)
Quantizer = Any  # a Brevitas injector class; the package carries no types


def computed(fmt: Format) -> bool:
    """Whether Brevitas can compute the scales of `fmt`: those of activations are, each time."""
    if fmt.is_cast:
        return True
    if fmt.has_zero_point or fmt.per_token or fmt.scaling is None:
        return False
    return fmt.rule == "floor" and fmt.scaling.scale == E8M0 if fmt.is_block else fmt.rule == "absmax"


def supported(fmt: Format, role: str) -> bool:
    """Whether `fmt` can be exported to Brevitas for a role, ``weight`` or that of an activation."""
    known = isinstance(fmt.element, IntElement) or fmt.element in _FLOATS
    return known and (computed(fmt) or role == "weight" or not fmt.is_block)


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
    """Raise EnvironmentProblem, with the package to install, unless Brevitas can be imported."""
    try:
        importlib.import_module("brevitas.nn")
    except ImportError as error:
        install = "pip install 'codesign[brevitas]'"
        raise EnvironmentProblem(f"Brevitas is needed for this export ({error}): {install}") from None


@functools.cache
def weight_quantizer(fmt: Format, *, given: bool = False) -> Quantizer:
    """A quantizer for a layer's ``weight_quant``; scales come from the weight, one per output channel or block.

    given: whether they are `GivenScales`.
    """
    found = _injector(fmt, weight=True)
    return found.let(scaling_impl=GivenScales) if given else found


def activation_quantizer(
    fmt: Format, group_axis: int, amax: float | Sequence[float] | None, token_axes: tuple[int, ...] = (-1,)
) -> Quantizer:
    """A quantizer for ``input_quant`` and `QuantIdentity`.

    Args:
        fmt: the format.
        group_axis: axis of the blocks of a block format, whose scales come from the data.
        amax: calibrated range of a plain format, (low, high) if it has a zero point; it becomes part of the state of
            the Brevitas module.
        token_axes: dimensions of a token, see `TokenScales`.
    """
    base = _injector(fmt, weight=False)
    if base is None or fmt.is_cast:
        return base
    if fmt.is_block:
        return base.let(group_dim=group_axis)
    if fmt.per_token:
        own = {"zero_point_impl": TokenZeroPoints} if fmt.has_zero_point else {}
        return base.let(scaling_impl=TokenScales, token_format=fmt, token_axes=token_axes, **own)
    if fmt.has_zero_point:
        assert amax is None or isinstance(amax, Sequence)
        low, high = (0.0, 0.0) if amax is None else map(float, amax)
        static = fmt.quantize(torch.zeros(1), amax=(low, high))
        assert static.scales is not None
        assert static.zero_points is not None
        given = {"given_scale": float(static.scales), "given_zero_point": float(static.zero_points)}
        return base.let(scaling_impl=GivenScales, zero_point_impl=GivenZeroPoints, **given)
    assert not isinstance(amax, Sequence)
    # an activation that was zero throughout calibration gets scale 1, as in codesign.formats
    return base.let(scaling_init=float(amax) if amax else fmt.max_value)


@functools.cache
def _injector(fmt: Format, *, weight: bool) -> Quantizer:
    if fmt.name == "fp32":
        return None
    if isinstance(fmt.element, IntElement):
        return _integer(fmt, fmt.element, weight)
    assert isinstance(fmt.element, FloatElement)
    return _minifloat(fmt, fmt.element, weight)


def _integer(fmt: Format, element: IntElement, weight: bool) -> Quantizer:
    from brevitas.core.scaling import IntScaling
    from brevitas.inject.enum import ScalingImplType
    from brevitas.quant.mx_quant_ocp import MXInt8Act, MXInt8Weight
    from brevitas.quant.scaled_int import Int8ActPerTensorFloat, Int8WeightPerChannelFloat

    shape = {"bit_width": element.bits, "narrow_range": element.narrow}
    if fmt.has_zero_point:
        return _shifted(fmt, element, weight)
    if fmt.scaling is not None and fmt.scaling.block is not None:
        # Brevitas divides by 2**7 and so clips the top binade of each block. OCP Microscaling 5.3.4 has 6 fraction
        # bits, which is what the floor of the narrow range's 127 to a power of two gives.
        group = (MXInt8Weight if weight else MXInt8Act).let(group_size=fmt.scaling.block)
        return group.let(int_scaling_impl=IntScaling, **shape)
    if weight:
        return Int8WeightPerChannelFloat.let(**shape)
    return Int8ActPerTensorFloat.let(scaling_impl_type=ScalingImplType.PARAMETER, **shape)


def _shifted(fmt: Format, element: IntElement, weight: bool) -> Quantizer:
    """Unsigned integers with a zero point, whose scales and zero points are given."""
    from brevitas.quant.shifted_scaled_int import (
        ShiftedUint8ActPerTensorFloat,
        ShiftedUint8WeightGroupQuantFloat,
        ShiftedUint8WeightPerChannelFloat,
    )

    shape = {"bit_width": element.bits, "int_quant": rounds_first()}
    if not weight:
        return ShiftedUint8ActPerTensorFloat.let(**shape)
    given = {"scaling_impl": GivenScales, "zero_point_impl": GivenZeroPoints}
    if fmt.scaling is not None and fmt.scaling.block is not None:
        return ShiftedUint8WeightGroupQuantFloat.let(group_size=fmt.scaling.block, **given, **shape)
    return ShiftedUint8WeightPerChannelFloat.let(**given, **shape)


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
