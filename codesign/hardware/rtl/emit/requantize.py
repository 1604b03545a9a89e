"""Verilog of a requantizer: FP32 results to codes of the next layer's format, with scales found in hardware.

What it writes is what `codesign.formats` computes, bit for bit: the range is the largest magnitude, the scale follows
from it by the format's rule, numbers are divided by their scale, rounded to FP32 and then to the element, ties to even.
Scales that are powers of two divide by a subtraction of exponents, all others by an array of restoring steps.
Inputs are finite; subnormal ones are read as zero, as the vector unit writes none.

Ports: clk; x, `lanes` FP32 numbers, lowest first; code, their codes; for the kinds of `Requantizer`
  cast   nothing else (bf16, fp16)
  given  scale, an input, FP32 (per tensor, from calibration)
  range  first, which begins a range; largest, an output: the largest magnitude since then, FP32 without its sign;
         range, an input: that magnitude, when the numbers pass again; scale, an output, FP32 (per token)
  block  scale, an output: the code of the block's scale; a step is one block. With scales of two levels also tensor, an
         input: the tensor's scale, FP32, from calibration
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from codesign.errors import InputError
from codesign.formats import FloatElement, Format, get_format
from codesign.formats.elements import E8M0, FP32, Element, IntElement
from codesign.formats.scaling import Scaling, carry, divisor_of
from codesign.hardware.rtl.emit import blocks
from codesign.hardware.rtl.emit.compress import Rows, add
from codesign.hardware.rtl.emit.expressions import ONE, ZERO, Value, constant, joined, replicated, zeros
from codesign.hardware.rtl.emit.verilog import Module, Net

_SIG = 24  # bits of a significand, its leading one included
_EXP = 10  # bits of an exponent with _BIAS added, which keeps every one positive
_BIAS = 512 - 127  # added to an FP32 exponent field to give an exponent here: that of 1.0 is 512
_ONE = 512


class Number(NamedTuple):
    """(-1)**sign * significand * 2**(exponent - 512 - 23); significand 0 or with its top bit set."""

    sign: Net
    exponent: Net
    significand: Net


@dataclass(frozen=True)
class Requantizer:
    """A requantizer to a format, of numbers that arrive `lanes` at a time; of a format in blocks a block at a time.

    dynamic: a format with one scale takes it from the data, as per token, instead of from a port. Raises InputError for
    formats that have no requantizer: those with zero points, codebooks, logarithms, integer scales or without
    subnormals, and FP32 itself.
    """

    format: str
    lanes: int = 1
    dynamic: bool = False

    def __post_init__(self) -> None:
        found = self.form
        scaling = found.scaling
        if why := _obstacle(found):
            raise InputError(f"no requantizer to {self.format}: {why}; there is one to int8, mxfp8_e4m3 and int4_g32")
        if scaling is not None and scaling.block not in (None, self.lanes):
            raise InputError(f"{self.format} is requantized a block at a time: {scaling.block} lanes, not {self.lanes}")

    @property
    def form(self) -> Format:
        return get_format(self.format)

    @property
    def kind(self) -> str:
        """cast, given, range or block."""
        scaling = self.form.scaling
        if scaling is None:
            return "cast"
        if scaling.block is not None:
            return "block"
        return "range" if self.dynamic or self.form.per_token else "given"


@dataclass(frozen=True)
class BuiltRequantizer:
    """The Verilog of a requantizer with its bill of materials."""

    unit: Requantizer
    text: str
    latency: int  # clock cycles from numbers at x to their codes
    parts: Mapping[str, int]  # one-bit cells by kind


def build_requantizer(unit: Requantizer, name: str = "requantize") -> BuiltRequantizer:
    """The requantizer as a module called `name`."""
    m, form = Module(name), unit.form
    x = m.register(m.input("x", 32 * unit.lanes), "x")
    words = [m.wire(32, x.part(32 * i + 31, 32 * i), "word") for i in range(unit.lanes)]
    latency, scale = 2, None
    if unit.kind == "given":
        scale = _given(m, "scale")
    elif unit.kind == "range":
        _range(m, words)
        found = scale_of(m, m.register(m.input("range", 31), "range"), form.element, _scaling(form))
        m.output("scale", m.register(found.code, "scale"))
        scale = found.value
    elif unit.kind == "block":
        tensor = _given(m, "tensor") if _scaling(form).tensor_scale is not None else None
        found = scale_of(m, _largest(m, words), form.element, _scaling(form), tensor)
        code = m.register(found.code, "code")
        m.output("scale", m.register(code, "scale"))
        scale = Number(*(m.register(net, "scale") for net in found.value))
        words, latency = [m.register(word, "word") for word in words], 3
    power = _scaling(form).scale == E8M0 if unit.kind == "block" else unit.kind == "cast"
    codes = [_code(m, fields(m, word), scale, form.element, power) for word in words]
    m.output("code", m.register(m.wire(len(codes) * codes[0].width, joined(*reversed(codes)), "codes"), "codes"))
    m.prune()
    return BuiltRequantizer(unit, m.text(), latency, dict(m.parts))


def _given(m: Module, port: str) -> Number:
    """A scale at an FP32 input."""
    given = m.register(m.input(port, 32), port)
    m.ignore(given.bit(31))  # its sign
    return fields(m, m.wire(31, given.part(30, 0), port))


def fields(m: Module, word: Net) -> Number:
    """An FP32 number; subnormal ones are zero."""
    m.uses("detect", 8)
    m.uses("carry_propagate", _EXP)
    field = m.wire(8, word.part(30, 23), "field")
    normal = m.wire(1, field.any(), "normal")
    significand = joined(normal, word.part(22, 0) & replicated(23, normal))
    exponent = joined(zeros(_EXP - 8), field) + constant(_BIAS, _EXP)
    sign = m.wire(1, word.bit(31), "sign") if word.width == 32 else blocks.POSITIVE
    return Number(sign, m.wire(_EXP, exponent, "exp"), m.wire(_SIG, significand, "sig"))


# -- scales ---------------------------------------------------------------------------------------------


class Scale(NamedTuple):
    """A scale as it is stored, and as a number."""

    code: Net
    value: Number


def scale_of(m: Module, largest: Net, element: Element, scaling: Scaling, tensor: Number | None = None) -> Scale:
    """The scale of numbers whose largest magnitude is `largest`, FP32 without its sign; tensor: the outer of two."""
    if scaling.scale == E8M0:
        return _power_of_two(m, largest, element, scaling.rule)
    divisor = divisor_of(element, scaling.rule)
    quotient = divided(m, fields(m, largest), _constant(m, divisor))
    zero = m.wire(1, largest.part(30, 23).none(), "zero")
    if scaling.scale == FP32:
        low = m.wire(1, constant(_BIAS + 1, _EXP).exceeds(quotient.exponent), "low")
        m.uses("compare", _EXP)
        m.uses("select", 2 * (_EXP + _SIG))
        value = _either(m, low, _constant(m, 2.0**-126), quotient)
        value = _either(m, zero, _constant(m, 1.0), value)
        field = m.wire(_EXP, value.exponent - constant(_BIAS, _EXP), "field")
        m.ignore(field.part(_EXP - 1, 8))
        m.uses("carry_propagate", _EXP)
        return Scale(m.wire(32, joined(ZERO, field.part(7, 0), value.significand.part(22, 0)), "scale"), value)
    assert isinstance(scaling.scale, FloatElement)
    stored = rounded_float(m, quotient if tensor is None else divided(m, quotient, tensor), scaling.scale)
    bits = scaling.scale.bits
    stored = m.wire(bits, joined(zeros(bits - stored.width), stored), "stored") if stored.width < bits else stored
    none = m.wire(1, stored.none(), "none")  # the smallest scale is not zero
    one = scaling.scale.bias << scaling.scale.mantissa_bits
    m.uses("select", 2 * bits)
    least = m.wire(bits, none.choose(constant(1, bits), stored), "least")
    code = least if tensor is not None else m.wire(bits, zero.choose(constant(one, bits), least), "scale")
    number = blocks.decode_float(m, code, scaling.scale)
    assert number.exponent is not None
    top, distance = blocks.normalise(m, number.significand)
    offset = _ONE - scaling.scale.bias
    m.uses("carry_propagate", 2 * _EXP)
    exponent = joined(zeros(_EXP - number.exponent.width), number.exponent) + constant(offset, _EXP)
    exponent = exponent - joined(zeros(_EXP - distance.width), distance)
    wide = m.wire(_SIG, joined(top, zeros(_SIG - top.width)), "sig")
    value = Number(blocks.POSITIVE, m.wire(_EXP, exponent, "exp"), wide)
    return Scale(code, value if tensor is None else multiplied(m, tensor, value, top.width))


def _power_of_two(m: Module, largest: Net, element: Element, rule: str) -> Scale:
    """An E8M0 scale: the exponent of the largest magnitude less that of the element's, one more above a threshold."""
    field = m.wire(_EXP, joined(zeros(_EXP - 8), largest.part(30, 23)), "field")
    m.uses("carry_propagate", _EXP)
    raw = m.wire(_EXP, field + constant(_ONE - element.emax, _EXP), "raw")  # 512 + code
    if rule == "floor":
        m.ignore(largest.part(22, 0))
    else:
        fraction = m.wire(23, largest.part(22, 0), "fraction")
        threshold = constant(_fraction(element.max_value if rule == "rceil" else carry(element)), 23)
        m.uses("compare", 23)
        m.uses("increment", _EXP)
        above = fraction.exceeds(threshold) if rule == "rceil" else fraction.reaches(threshold)
        more = m.wire(1, above, "more")
        raw = m.wire(_EXP, raw + joined(zeros(_EXP - 1), more), "raw")
    m.uses("detect", 8)
    m.uses("select", 16)
    none = m.wire(1, field.none(), "zero")
    m.ignore(raw.bit(_EXP - 2))
    inside = m.wire(8, raw.bit(_EXP - 1).choose(raw.part(7, 0), zeros(8)), "inside")
    if element.emax == 0 and rule != "floor":  # 255 is NaN
        inside = m.wire(8, inside.equals(constant(255, 8)).grouped().choose(constant(254, 8), inside), "inside")
    code = m.wire(8, none.choose(constant(127, 8), inside), "scale")
    m.uses("carry_propagate", _EXP)
    exponent = m.wire(_EXP, joined(zeros(_EXP - 8), code) + constant(_BIAS, _EXP), "exp")
    return Scale(code, Number(blocks.POSITIVE, exponent, m.wire(_SIG, constant(1 << (_SIG - 1), _SIG), "sig")))


def _range(m: Module, words: list[Net]) -> None:
    """The largest magnitude since `first`, at the output `largest`."""
    first = m.register(m.input("first", 1), "first")
    largest = m.late(31, "largest")
    m.uses("partial_product", 31)
    kept = m.wire(31, largest & replicated(31, ~first), "kept")
    m.drive(largest, blocks.maximum(m, [kept, _largest(m, words)]))
    m.output("largest", largest)


def _largest(m: Module, words: list[Net]) -> Net:
    return blocks.maximum(m, [m.wire(31, word.part(30, 0), "magnitude") for word in words])


# -- numbers --------------------------------------------------------------------------------------------


def _code(m: Module, x: Number, scale: Number | None, element: Element, power: bool) -> Net:
    """The code of a number divided by its scale; power: the scale is a power of two."""
    if scale is not None and power:
        m.uses("carry_propagate", _EXP)
        exponent = x.exponent + constant(_ONE, _EXP) - scale.exponent
        x = Number(x.sign, m.wire(_EXP, exponent, "exp"), x.significand)
    elif scale is not None:
        x = divided(m, x, scale)
    if isinstance(element, IntElement):
        return rounded_integer(m, x, element)
    assert isinstance(element, FloatElement)
    return m.wire(element.bits, joined(x.sign, rounded_float(m, x, element)), "code")


def divided(m: Module, x: Number, by: Number) -> Number:
    """x / by, rounded to 24 bits, ties to even; `by` is not zero.

    The quotient of two significands, of which the first is doubled where it is the smaller, lies in [1, 2), and never
    rounds up to 2: it is at most 2 - 2**-23.
    """
    wide = _SIG + 2
    m.uses("compare", 2 * _SIG)
    m.uses("select", _SIG + 1)
    m.uses("carry_propagate", 2 * _EXP)
    less = m.wire(1, by.significand.exceeds(x.significand), "less")
    rest = m.wire(_SIG + 1, less.choose(joined(x.significand, ZERO), joined(ZERO, x.significand)), "rest")
    divisor = m.wire(wide, joined(zeros(2), by.significand), "divisor")
    bits: list[Net] = []
    for step in range(_SIG + 1):  # the last is the guard bit
        shifted = m.wire(wide, joined(rest, ZERO) if step else joined(ZERO, rest), "shifted")
        m.uses("carry_propagate", wide)
        m.uses("select", _SIG + 1)
        difference = m.wire(wide, shifted - divisor, "difference")
        bit = m.wire(1, ~difference.bit(wide - 1), "bit")
        rest = m.wire(_SIG + 1, bit.choose(difference.part(_SIG, 0), shifted.part(_SIG, 0)), "rest")
        bits.append(bit)
    m.uses("detect", _SIG + 1)
    m.uses("increment", _SIG)
    quotient = m.wire(_SIG, joined(*bits[:-1]), "quotient")
    sticky = m.wire(1, rest.any(), "sticky")
    up = m.wire(1, bits[-1] & (sticky | quotient.bit(0)).grouped(), "up")
    rounded = m.wire(_SIG, quotient + joined(zeros(_SIG - 1), up), "rounded")
    exponent = x.exponent + constant(_ONE, _EXP) - by.exponent - joined(zeros(_EXP - 1), less)
    zero = m.wire(_SIG, rounded & replicated(_SIG, x.significand.bit(_SIG - 1)), "sig")
    return Number(x.sign, m.wire(_EXP, exponent, "exp"), zero)


def multiplied(m: Module, x: Number, by: Number, bits: int) -> Number:
    """x * by, rounded to 24 bits, ties to even; only the top `bits` of the significand of `by` are not zero."""
    width = _SIG + bits
    m.ignore(by.significand.part(_SIG - bits - 1, 0))
    rows = Rows(m, width)
    rows.product(x.significand, m.wire(bits, by.significand.part(_SIG - 1, _SIG - bits), "top"), False, False)
    product = add(m, rows, "product")
    m.uses("select", width)
    m.uses("increment", _SIG + 1)
    m.uses("carry_propagate", 2 * _EXP)
    large = m.wire(1, product.bit(width - 1), "large")
    placed = m.wire(width, large.choose(product, joined(product.part(width - 2, 0), ZERO)), "placed")
    rounded = _nearest(m, placed, _SIG, _SIG + 1)
    carried = m.wire(1, rounded.bit(_SIG), "carried")  # to a power of two
    significand = joined(rounded.bit(_SIG - 1) | carried, rounded.part(_SIG - 2, 0))
    exponent = x.exponent + by.exponent - constant(_ONE, _EXP) + joined(zeros(_EXP - 1), large)
    exponent = exponent + joined(zeros(_EXP - 1), carried)
    return Number(x.sign, m.wire(_EXP, exponent, "exp"), m.wire(_SIG, significand, "sig"))


def rounded_integer(m: Module, x: Number, element: IntElement) -> Net:
    """The nearest code of an integer, in two's complement; ties to even, saturating."""
    bits = element.bits
    top = _ONE + bits - 1 - element.fraction_bits  # exponent of a number whose leading one is the top bit of `bits`
    value, beyond = _shifted(m, x, top)
    m.uses("increment", 2 * bits + 1)
    m.uses("compare", bits + 1)
    m.uses("select", bits)
    magnitude = _nearest(m, value, bits, bits + 1)
    most = m.wire(bits, x.sign.choose(constant(-element.min_code, bits), constant(element.max_code, bits)), "most")
    over = m.wire(1, beyond | magnitude.exceeds(joined(ZERO, most)).grouped(), "over")
    kept = m.wire(bits, over.choose(most, magnitude.part(bits - 1, 0)), "kept")
    signed = (kept ^ replicated(bits, x.sign)).grouped() + joined(zeros(bits - 1), x.sign)
    return m.wire(bits, signed, "code")


def rounded_float(m: Module, x: Number, element: FloatElement) -> Net:
    """The nearest magnitude of a minifloat, without its sign; ties to even, subnormals kept, saturating."""
    mantissa, lowest = element.mantissa_bits, _ONE + element.emin
    m.uses("carry_propagate", 2 * _EXP)
    m.uses("compare", _EXP)
    m.uses("select", _EXP)
    below = m.wire(1, constant(lowest, _EXP).exceeds(x.exponent), "below")
    distance = m.wire(_EXP, below.choose(constant(lowest, _EXP) - x.exponent, zeros(_EXP)), "dist")
    value = blocks.shift_right_sticky(m, x.significand, distance)
    wide = _EXP + mantissa + 1
    m.uses("carry_propagate", wide)
    m.uses("compare", wide)
    kept = _nearest(m, value, mantissa + 1, mantissa + 2)
    some = m.wire(1, ~below & x.significand.bit(_SIG - 1), "some")
    above = m.wire(_EXP, (x.exponent - constant(lowest, _EXP)).grouped() & replicated(_EXP, some), "above")
    packed = joined(zeros(1), above, zeros(mantissa)) + joined(zeros(wide - mantissa - 2), kept)
    code = m.wire(wide, packed, "packed")
    most, bits = constant(_largest_code(element), wide), element.exponent_bits + mantissa
    m.uses("select", bits)
    over = m.wire(1, code.exceeds(most), "over")
    return m.wire(bits, over.choose(constant(_largest_code(element), bits), code.part(bits - 1, 0)), "magnitude")


def _shifted(m: Module, x: Number, top: int) -> tuple[Net, Net]:
    """(the significand at an exponent of `top`, with a sticky lowest bit; whether it lies beyond)."""
    m.uses("compare", _EXP)
    m.uses("carry_propagate", _EXP)
    some = m.wire(1, x.exponent.exceeds(constant(top, _EXP)), "above")
    beyond = m.wire(1, some & x.significand.bit(_SIG - 1), "beyond")
    distance = m.wire(_EXP, constant(top, _EXP) - x.exponent, "dist")
    return blocks.shift_right_sticky(m, x.significand, distance), beyond


def _nearest(m: Module, value: Net, kept: int, width: int) -> Net:
    """The top `kept` bits of a number, rounded by those below, ties to even, in `width` bits."""
    last = value.width - kept
    m.uses("detect", last)
    sticky: Value = value.part(last - 2, 0).any()
    up = m.wire(1, value.bit(last - 1) & (sticky | value.bit(last)).grouped(), "up")
    number = joined(zeros(width - kept), value.part(value.width - 1, last)) + joined(zeros(width - 1), up)
    return m.wire(width, number, "nearest")


def _either(m: Module, which: Net, yes: Number, no: Number) -> Number:
    return Number(
        no.sign, *(m.wire(a.width, which.choose(a, b), "chosen") for a, b in zip(yes[1:], no[1:], strict=True))
    )


def _constant(m: Module, value: float) -> Number:
    """A positive number that FP32 holds."""
    fraction, exponent = _fraction(value), _exponent(value)
    return Number(
        blocks.POSITIVE,
        m.wire(_EXP, constant(_ONE + exponent, _EXP), "exp"),
        m.wire(_SIG, joined(ONE, constant(fraction, _SIG - 1)), "sig"),
    )


def _exponent(value: float) -> int:
    numerator, denominator = value.as_integer_ratio()
    return numerator.bit_length() - denominator.bit_length()


def _fraction(value: float) -> int:
    """The 23 bits below the leading one of a number that FP32 holds."""
    return int(value / 2.0 ** _exponent(value) * (1 << (_SIG - 1))) - (1 << (_SIG - 1))


def _largest_code(element: FloatElement) -> int:
    """Bit pattern of the largest finite magnitude."""
    whole = (element.emax - element.emin + 1) << element.mantissa_bits
    return whole + int((element.max_value / 2.0**element.emax - 1) * (1 << element.mantissa_bits))


def _obstacle(form: Format) -> str:
    """Why there is no requantizer to a format; empty if there is one."""
    element, scaling = form.element, form.scaling
    if element == FP32:
        return "results have it already"
    if form.has_zero_point:
        return "it has zero points"
    if not isinstance(element, IntElement | FloatElement):
        return "its elements are neither integers nor floats"
    scale = scaling.scale if scaling is not None else FP32
    if isinstance(scale, IntElement):
        return "its scales are integers"
    floats = [x for x in (element, scale) if isinstance(x, FloatElement) and x != E8M0]
    if not all(x.subnormals and x.mantissa_bits and x.signed for x in floats):
        return "it has floats without a sign, a mantissa or subnormals"
    return ""


def _scaling(form: Format) -> Scaling:
    assert form.scaling is not None
    return form.scaling
