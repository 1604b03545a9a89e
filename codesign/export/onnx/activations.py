"""Quantized activations in ONNX: QuantizeLinear and DequantizeLinear for static scales, else the same arithmetic.

ONNX's ``QuantizeLinear`` divides, rounds half to even and saturates, as `codesign.formats` does, but an int8 saturates
at -128 where ours does at -127: a ``Max`` in front of it ends the range there.

A zero point of int8 is written only where nothing but products read the value, because ONNX Runtime wants it to
multiply integers (``MatMulIntegerToFloat``). Elsewhere the attribute ``output_dtype`` tells the type: where ONNX
Runtime 1.32 moves a ``DequantizeLinear`` behind a transpose, it writes that attribute beside the zero point of the
moved pair, and then finds that INT8 "does not match y_zero_point type UINT8" (microsoft/onnxruntime, issue 25526, pull
request 28144): such a file opens with optimisations off only.

Scales that come from the data, per
token or per block, are written out in operators of float32, with our formulas (`codesign.formats.scaling`):
``DynamicQuantizeLinear`` has one scale for a whole tensor only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codesign.errors import InputError
from codesign.export.onnx.builder import Builder, Value
from codesign.export.scored import Operand
from codesign.formats import Format
from codesign.formats.elements import BF16, E4M3, E5M2, E8M0, FP16, FP32, FloatElement, IntElement
from codesign.formats.scaling import SMALLEST_NORMAL, carry, divisor_of
from codesign.formats.tabulated import Tabulated

_QUANTIZED = {
    **{(bits, True): f"INT{bits}" for bits in (4, 8, 16)},
    **{(bits, False): f"UINT{bits}" for bits in (4, 8, 16)},
}
_FLOAT8 = {E4M3: "FLOAT8E4M3FN", E5M2: "FLOAT8E5M2"}


def emit(build: Builder, layer: str, operand: Operand, x: Value, *, multiplied: bool) -> Value:
    """Write the rounding of an operand into the graph; returns the rounded value.

    multiplied: whether nothing but matrix products reads it, see the module's text.
    Raises InputError for blocks along a dimension whose length is not fixed.
    """
    import onnx_ir as ir

    build.prefix = f"{layer}.{operand.name}"
    fmt = operand.format
    if fmt.is_cast:
        assert isinstance(fmt.element, FloatElement)
        kind = {FP16: ir.DataType.FLOAT16, BF16: ir.DataType.BFLOAT16}[fmt.element]
        largest = fmt.element.max_value
        narrow = build("Cast", _clip(build, x, -largest, largest), to=int(kind), dtype=kind)
        return build("Cast", narrow, to=int(ir.DataType.FLOAT))
    if operand.scale is not None:
        return _static(build, operand, operand.scale, x, multiplied)
    if fmt.is_block:
        return _in_blocks(build, layer, operand, x)
    axes = build.integers([axis % operand.dims for axis in operand.axes])
    return _measured(build, operand, x, axes)


def _static(build: Builder, operand: Operand, scale: float, x: Value, multiplied: bool) -> Value:
    """Rounded with one calibrated scale."""
    import onnx_ir as ir

    element = operand.format.element
    if isinstance(element, IntElement) and not element.fraction_bits:
        kind = _QUANTIZED.get((element.bits, element.signed))
    else:
        kind = _FLOAT8.get(element) if isinstance(element, FloatElement) else None
    number = build.number(scale)
    if kind is None:
        return build("Mul", _elements(build, build("Div", x, number), operand.format), number)
    dtype = ir.DataType[kind]
    if isinstance(element, IntElement) and element.narrow:
        x = build("Max", x, build.number(float(np.float32(element.min_code) * np.float32(scale))))
    if operand.zero_point is None and not (multiplied and kind == "INT8"):
        codes = build("QuantizeLinear", x, number, dtype=dtype, output_dtype=int(dtype))
        return build("DequantizeLinear", codes, number)
    zero = build.number(operand.zero_point or 0, dtype.numpy())
    codes = build("QuantizeLinear", x, number, zero, dtype=dtype)
    return build("DequantizeLinear", codes, number, zero)


def _in_blocks(build: Builder, layer: str, operand: Operand, x: Value) -> Value:
    """Rounded with a scale for each block along the first of the operand's axes, the last one padded with zeros."""
    axis = operand.axes[0] % operand.dims
    shape = list(x.shape) if x.shape is not None else [None] * operand.dims
    length = shape[axis]
    block = operand.format.scaling.block if operand.format.scaling is not None else None
    if not isinstance(length, int) or block is None:
        raise InputError(
            f"layer '{layer}': its {operand.name} has blocks along a dimension that varies, which ONNX cannot hold"
        )
    block = min(block, length)
    blocks = -(-length // block)
    padded = x
    if blocks * block != length:
        pads = [0] * (2 * operand.dims)
        pads[operand.dims + axis] = blocks * block - length
        padded = build("Pad", x, build.integers(pads))
    before = build("Shape", padded, dtype=_int64())
    rest = [] if axis == operand.dims - 1 else [-1]
    split = build("Reshape", padded, build.integers([0] * axis + [blocks, block, *rest]))
    rounded = _measured(build, operand, split, build.integers([axis + 1]))
    found = build("Reshape", rounded, before)
    if padded is x:
        return found
    return build("Slice", found, build.integers([0]), build.integers([length]), build.integers([axis]))


def _int64() -> Any:
    import onnx_ir as ir

    return ir.DataType.INT64


def _measured(build: Builder, operand: Operand, x: Value, axes: Value) -> Value:
    """Rounded with scales that share the dimensions `axes` of x."""
    fmt = operand.format
    assert fmt.scaling is not None
    if fmt.has_zero_point:
        return _asymmetric(build, fmt, x, axes)
    amax = build("ReduceMax", build("Abs", x), axes, keepdims=1)
    if fmt.scaling.scale == E8M0:
        scale = _power_of_two(build, fmt, amax)
    elif fmt.scaling.tensor_scale is not None:
        scale = _two_levels(build, operand, amax)
    else:
        scale = _rounded_scale(build, fmt, build("Div", amax, build.number(divisor_of(fmt.element, fmt.scaling.rule))))
    return build("Mul", _elements(build, build("Div", x, scale), fmt), scale)


def _asymmetric(build: Builder, fmt: Format, x: Value, axes: Value) -> Value:
    """As `codesign.formats.scaling.asymmetric_scale` says."""
    zero, lowest = build.number(0.0), fmt.element.min_value
    low = build("Min", build("ReduceMin", x, axes, keepdims=1), zero)
    high = build("Max", build("ReduceMax", x, axes, keepdims=1), zero)
    levels = build.number(fmt.element.max_value - lowest)
    scale = _rounded_scale(build, fmt, build("Sub", build("Div", high, levels), build("Div", low, levels)))
    point = build("Round", build("Div", build("Neg", low), scale))
    point = build("Add", _clip(build, point, 0.0, fmt.element.max_value - lowest), build.number(lowest))
    steps = build("Round", build("Div", x, scale))
    steps = build("Max", steps, build("Sub", build.number(lowest), point))
    steps = build("Min", steps, build("Sub", build.number(fmt.element.max_value), point))
    return build("Mul", steps, scale)


def _rounded_scale(build: Builder, fmt: Format, quotient: Value) -> Value:
    """A scale in its own type; 1 for zeros."""
    import onnx_ir as ir

    assert fmt.scaling is not None
    element = fmt.scaling.scale
    found = _clip(build, quotient, max(element.smallest, SMALLEST_NORMAL), element.max_value)
    if element == FP16:
        half = build("Cast", found, to=int(ir.DataType.FLOAT16), dtype=ir.DataType.FLOAT16)
        found = build("Cast", half, to=int(ir.DataType.FLOAT))
    elif element != FP32:
        raise InputError(f"activations of '{fmt.name}' have scales that ONNX cannot compute")
    empty = build("Equal", quotient, build.number(0.0), dtype=ir.DataType.BOOL)
    return build("Where", empty, build.number(1.0), found)


def _power_of_two(build: Builder, fmt: Format, amax: Value) -> Value:
    """A scale of type E8M0: the logarithm's error next to powers of two is made good by comparing with amax."""
    import onnx_ir as ir

    assert fmt.scaling is not None
    logical = ir.DataType.BOOL
    two, one = build.number(2.0), build.number(1.0)
    logarithm = build("Div", build("Log", amax), build.number(float(np.log(2.0))))
    power = build("Pow", two, build("Floor", logarithm))
    half = build("Mul", power, build.number(0.5))
    power = build("Where", build("Greater", power, amax, dtype=logical), half, power)
    double = build("Mul", power, two)
    power = build("Where", build("LessOrEqual", double, amax, dtype=logical), double, power)
    scale = build("Mul", power, build.number(2.0**-fmt.element.emax))
    scale = build("Max", scale, build.number(2.0**-127))
    if fmt.scaling.rule != "floor":
        rceil = fmt.scaling.rule == "rceil"
        edge = build("Mul", scale, build.number(fmt.element.max_value if rceil else carry(fmt.element)))
        above = build("Greater" if rceil else "GreaterOrEqual", amax, edge, dtype=logical)
        scale = build("Where", above, build("Mul", scale, two), scale)
        scale = build("Min", scale, build.number(2.0**127))
    empty = build("Equal", amax, build.number(0.0), dtype=logical)
    return build("Where", empty, one, scale)


def _two_levels(build: Builder, operand: Operand, amax: Value) -> Value:
    """The product of a block's scale, in E4M3, and the calibrated scale of the tensor."""
    import onnx_ir as ir

    fmt = operand.format
    assert fmt.scaling is not None
    assert operand.tensor_scale is not None
    element, outer = fmt.scaling.scale, build.number(operand.tensor_scale)
    quotient = build("Div", amax, build.number(divisor_of(fmt.element, fmt.scaling.rule)))
    found = _clip(build, build("Div", quotient, outer), element.smallest, element.max_value)
    if not isinstance(element, FloatElement) or element not in _FLOAT8:
        raise InputError(f"activations of '{fmt.name}' have scales that ONNX cannot compute")
    kind = ir.DataType[_FLOAT8[element]]
    narrow = build("Cast", found, to=int(kind), dtype=kind)
    return build("Mul", build("Cast", narrow, to=int(ir.DataType.FLOAT)), outer)


def _elements(build: Builder, x: Value, fmt: Format) -> Value:
    """Scaled numbers, rounded to the format's elements."""
    import onnx_ir as ir

    element = fmt.element
    if isinstance(element, Tabulated) or (isinstance(element, FloatElement) and not element.subnormals):
        raise InputError(f"activations of '{fmt.name}' have elements that ONNX cannot compute")
    x = _clip(build, x, element.min_value, element.max_value)
    if isinstance(element, IntElement):
        if not element.fraction_bits:
            return build("Round", x)
        return build("Mul", build("Round", build("Mul", x, build.number(1 / element.step))), build.number(element.step))
    if element in _FLOAT8:
        kind = ir.DataType[_FLOAT8[element]]
        return build("Cast", build("Cast", x, to=int(kind), dtype=kind), to=int(ir.DataType.FLOAT))
    magnitude = build("Abs", x)
    step = build.number(2.0 ** (element.emin - element.mantissa_bits))
    for exponent in range(element.emin + 1, element.emax + 1):  # numbers from 2**exponent on are twice as far apart
        wide = build.number(2.0 ** (exponent - element.mantissa_bits))
        above = build("GreaterOrEqual", magnitude, build.number(2.0**exponent), dtype=ir.DataType.BOOL)
        step = build("Where", above, wide, step)
    return build("Mul", build("Round", build("Div", x, step)), step)


def _clip(build: Builder, x: Value, low: float, high: float) -> Value:
    return build("Clip", x, build.number(low), build.number(high))
