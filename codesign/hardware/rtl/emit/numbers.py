"""FP32 numbers in hardware, taken apart: quotients, products, rounding to elements; to nearest, ties to even."""

from __future__ import annotations

from typing import NamedTuple

from codesign.formats import FloatElement
from codesign.formats.elements import FP32, IntElement
from codesign.hardware.rtl.emit import blocks
from codesign.hardware.rtl.emit.compress import Rows, add
from codesign.hardware.rtl.emit.expressions import ONE, ZERO, Value, constant, joined, replicated, zeros
from codesign.hardware.rtl.emit.pipeline import Step
from codesign.hardware.rtl.emit.verilog import Module, Net

SIGNIFICAND = 24  # bits of a significand, its leading one included
EXPONENT = 10  # bits of an exponent with BIAS added, which keeps every one positive
BIAS = 512 - 127  # added to an FP32 exponent field to give an exponent here: that of 1.0 is ONE_AT
ONE_AT = 512
_FEW = SIGNIFICAND - 1  # bits of a quotient, below which its remainder is compared instead of divided


class Number(NamedTuple):
    """(-1)**sign * significand * 2**(exponent - 512 - 23); significand 0 or with its top bit set."""

    sign: Net
    exponent: Net
    significand: Net


def fields(m: Module, word: Net) -> Number:
    """An FP32 number; subnormal ones are zero."""
    field = m.wire(8, word.part(30, 23), "field")
    normal = m.wire(1, field.any(), "normal")
    significand = joined(normal, word.part(22, 0) & replicated(23, normal))
    exponent = joined(zeros(EXPONENT - 8), field) + constant(BIAS, EXPONENT)
    sign = m.wire(1, word.bit(31), "sign") if word.width == 32 else blocks.POSITIVE
    return Number(sign, m.wire(EXPONENT, exponent, "exp"), m.wire(SIGNIFICAND, significand, "sig"))


def divided(m: Module, step: Step, x: Number, by: Number, steady: bool = False, wanted: int = SIGNIFICAND) -> Number:
    """x / by, rounded to 24 bits, ties to even; `by` is not zero; steady: it does not change.

    wanted: leading bits that the next rounding keeps, with the one after them. Where they are few, as many steps give
    them, and the lowest bit of the significand says whether the quotient as rounded to 24 bits has more.

    The quotient of two significands, of which the first is doubled where it is the smaller, lies in [1, 2), and never
    rounds up to 2: it is at most 2 - 2**-23.
    """
    wide = SIGNIFICAND + 2
    less = m.wire(1, by.significand.exceeds(x.significand), "less")
    rest = m.wire(SIGNIFICAND + 1, less.choose(joined(x.significand, ZERO), joined(ZERO, x.significand)), "rest")
    difference = x.exponent + constant(ONE_AT, EXPONENT) - by.exponent - joined(zeros(EXPONENT - 1), less)
    # what the end needs: sign, exponent, whether the quotient is not zero
    last = [x.sign, m.wire(EXPONENT, difference, "exp"), m.wire(1, x.significand.bit(SIGNIFICAND - 1), "some")]
    divisor, bits = by.significand, list[Net]()
    for index in range(wanted if wanted < _FEW else SIGNIFICAND + 1):  # the last is the guard bit
        rest, *moved = step(f"{index}", rest, *last, *bits, *([] if steady else [divisor]))
        last, bits = moved[:3], moved[3 : 3 + index]
        divisor = divisor if steady else moved[-1]
        shifted = m.wire(wide, joined(rest, ZERO) if index else joined(ZERO, rest), "shifted")
        less_divisor = m.wire(wide, shifted - joined(zeros(2), divisor), "difference")
        bit = m.wire(1, ~less_divisor.bit(wide - 1), "bit")
        rest = m.wire(
            SIGNIFICAND + 1, bit.choose(less_divisor.part(SIGNIFICAND, 0), shifted.part(SIGNIFICAND, 0)), "rest"
        )
        bits.append(bit)
    rest, *moved = step("quotient", rest, *last, *bits, *([] if steady else [divisor]))
    (sign, exponent, some), bits = moved[:3], moved[3 : 3 + len(bits)]
    divisor = divisor if steady else moved[-1]
    found = _whole(m, rest, bits) if len(bits) > SIGNIFICAND else _short(m, rest, bits, divisor)
    kept = m.wire(SIGNIFICAND, found & replicated(SIGNIFICAND, some), "sig")
    return Number(*step("rounded", sign, exponent, kept))


def _whole(m: Module, rest: Net, bits: list[Net]) -> Net:
    """A quotient of 24 bits and a guard bit, rounded."""
    quotient = m.wire(SIGNIFICAND, joined(*bits[:-1]), "quotient")
    sticky = m.wire(1, rest.any(), "sticky")
    up = m.wire(1, bits[-1] & (sticky | quotient.bit(0)).grouped(), "up")
    return m.wire(SIGNIFICAND, quotient + joined(zeros(SIGNIFICAND - 1), up), "rounded")


def _short(m: Module, rest: Net, bits: list[Net], divisor: Net) -> Net:
    """The leading bits of a quotient with a sticky lowest bit, of the quotient as rounded to 24 bits.

    Rounding takes it to a number of these bits alone if it lies within half of its last place, 2**-24, of that number:
    if the remainder, or what it lacks of the divisor, is at most the divisor times 2**(bits - 25).
    """
    count = len(bits)
    shift = SIGNIFICAND + 1 - count
    near = m.wire(SIGNIFICAND + 1, joined(zeros(1 + shift), divisor.part(SIGNIFICAND - 1, shift)), "near")
    lacking = m.wire(SIGNIFICAND + 1, joined(ZERO, divisor) - rest, "lacking")
    above, below = m.wire(1, near.reaches(rest), "above"), m.wire(1, near.reaches(lacking), "below")
    leading = m.wire(count, joined(*bits).expression + joined(zeros(count - 1), below), "leading")
    sticky = m.wire(1, ~(above | below).grouped(), "sticky")
    return m.wire(SIGNIFICAND, joined(leading, zeros(SIGNIFICAND - count - 1), sticky), "quotient")


def multiplied(m: Module, step: Step, x: Number, by: Number, bits: int) -> Number:
    """x * by, rounded to 24 bits, ties to even; only the top `bits` of the significand of `by` are not zero."""
    width = SIGNIFICAND + bits
    m.ignore(by.significand.part(SIGNIFICAND - bits - 1, 0))
    rows = Rows(m, width)
    rows.product(
        x.significand, m.wire(bits, by.significand.part(SIGNIFICAND - 1, SIGNIFICAND - bits), "top"), False, False
    )
    sum_of_exponents = m.wire(EXPONENT, x.exponent + by.exponent - constant(ONE_AT, EXPONENT), "exp")
    product, sign, exponent = step("product", add(m, rows, "product"), x.sign, sum_of_exponents)
    large = m.wire(1, product.bit(width - 1), "large")
    placed = m.wire(width, large.choose(product, joined(product.part(width - 2, 0), ZERO)), "placed")
    rounded = _nearest(m, placed, SIGNIFICAND, SIGNIFICAND + 1)
    carried = m.wire(1, rounded.bit(SIGNIFICAND), "carried")  # to a power of two
    significand = joined(rounded.bit(SIGNIFICAND - 1) | carried, rounded.part(SIGNIFICAND - 2, 0))
    carries = joined(zeros(EXPONENT - 1), large) + joined(zeros(EXPONENT - 1), carried)
    exponent = m.wire(EXPONENT, exponent + carries, "exp")
    return Number(*step("multiplied", sign, exponent, m.wire(SIGNIFICAND, significand, "sig")))


def rounded_integer(m: Module, step: Step, x: Number, element: IntElement) -> Net:
    """The nearest code of an integer, in two's complement; ties to even, saturating."""
    bits = element.bits
    top = ONE_AT + bits - 1 - element.fraction_bits  # exponent of a number whose leading one is the top bit of `bits`
    value, beyond, sign = step("shifted", *_shifted(m, x, top), x.sign)
    magnitude, beyond, sign = step("nearest", _nearest(m, value, bits, bits + 1), beyond, sign)
    most = m.wire(bits, sign.choose(constant(-element.min_code, bits), constant(element.max_code, bits)), "most")
    over = m.wire(1, beyond | magnitude.exceeds(joined(ZERO, most)).grouped(), "over")
    kept = m.wire(bits, over.choose(most, magnitude.part(bits - 1, 0)), "kept")
    signed = (kept ^ replicated(bits, sign)).grouped() + joined(zeros(bits - 1), sign)
    return m.wire(bits, signed, "code")


def rounded_float(m: Module, step: Step, x: Number, element: FloatElement) -> tuple[Net, Net]:
    """(sign, magnitude) of the nearest minifloat; ties to even, subnormals kept, saturating."""
    mantissa, lowest = element.mantissa_bits, ONE_AT + element.emin
    below = m.wire(1, constant(lowest, EXPONENT).exceeds(x.exponent), "below")
    distance = m.wire(EXPONENT, below.choose(constant(lowest, EXPONENT) - x.exponent, zeros(EXPONENT)), "dist")
    value = blocks.shift_right_sticky(m, x.significand, distance)
    some = m.wire(1, ~below & x.significand.bit(SIGNIFICAND - 1), "some")
    above = m.wire(EXPONENT, (x.exponent - constant(lowest, EXPONENT)).grouped() & replicated(EXPONENT, some), "above")
    value, above, sign = step("shifted", value, above, x.sign)
    wide = EXPONENT + mantissa + 1
    kept = _nearest(m, value, mantissa + 1, mantissa + 2)
    packed = joined(zeros(1), above, zeros(mantissa)) + joined(zeros(wide - mantissa - 2), kept)
    code, sign = step("packed", m.wire(wide, packed, "packed"), sign)
    most, bits = constant(_largest_code(element), wide), element.exponent_bits + mantissa
    over = m.wire(1, code.exceeds(most), "over")
    return sign, m.wire(bits, over.choose(constant(_largest_code(element), bits), code.part(bits - 1, 0)), "magnitude")


def shortened(m: Module, step: Step, word: Net, element: FloatElement) -> tuple[Net, Net]:
    """(sign, magnitude) of an FP32 number in a float with the exponents of FP32, saturating: no bit has to move."""
    assert (element.exponent_bits, element.emin) == (FP32.exponent_bits, FP32.emin)
    bits = element.bits - 1
    normal = m.wire(1, word.part(30, 23).any(), "normal")  # subnormal numbers are zero
    magnitude = m.wire(31, word.part(30, 0) & replicated(31, normal), "magnitude")
    nearest, sign = step("packed", _nearest(m, magnitude, bits, bits + 1), m.wire(1, word.bit(31), "sign"))
    most = _largest_code(element)
    over = m.wire(1, nearest.exceeds(constant(most, bits + 1)), "over")
    return sign, m.wire(bits, over.choose(constant(most, bits), nearest.part(bits - 1, 0)), "magnitude")


def _shifted(m: Module, x: Number, top: int) -> tuple[Net, Net]:
    """(the significand at an exponent of `top`, with a sticky lowest bit; whether it lies beyond)."""
    some = m.wire(1, x.exponent.exceeds(constant(top, EXPONENT)), "above")
    beyond = m.wire(1, some & x.significand.bit(SIGNIFICAND - 1), "beyond")
    distance = m.wire(EXPONENT, constant(top, EXPONENT) - x.exponent, "dist")
    return blocks.shift_right_sticky(m, x.significand, distance), beyond


def _nearest(m: Module, value: Net, kept: int, width: int) -> Net:
    """The top `kept` bits of a number, rounded by those below, ties to even, in `width` bits."""
    last = value.width - kept
    sticky: Value = value.part(last - 2, 0).any()
    up = m.wire(1, value.bit(last - 1) & (sticky | value.bit(last)).grouped(), "up")
    number = joined(zeros(width - kept), value.part(value.width - 1, last)) + joined(zeros(width - 1), up)
    return m.wire(width, number, "nearest")


def kept_bits(element: IntElement | FloatElement) -> int:
    """Leading bits of a number that rounding to an element keeps, and the one after them."""
    return element.bits + 1 if isinstance(element, IntElement) else element.mantissa_bits + 2


def either(m: Module, which: Net, yes: Number, no: Number) -> Number:
    return Number(
        no.sign, *(m.wire(a.width, which.choose(a, b), "chosen") for a, b in zip(yes[1:], no[1:], strict=True))
    )


def positive(m: Module, value: float) -> Number:
    """A positive number that FP32 holds."""
    fraction, exponent = fraction_of(value), _exponent(value)
    return Number(
        blocks.POSITIVE,
        m.wire(EXPONENT, constant(ONE_AT + exponent, EXPONENT), "exp"),
        m.wire(SIGNIFICAND, joined(ONE, constant(fraction, SIGNIFICAND - 1)), "sig"),
    )


def _exponent(value: float) -> int:
    numerator, denominator = value.as_integer_ratio()
    return numerator.bit_length() - denominator.bit_length()


def fraction_of(value: float) -> int:
    """The 23 bits below the leading one of a number that FP32 holds."""
    return int(value / 2.0 ** _exponent(value) * (1 << (SIGNIFICAND - 1))) - (1 << (SIGNIFICAND - 1))


def _largest_code(element: FloatElement) -> int:
    """Bit pattern of the largest finite magnitude."""
    whole = (element.emax - element.emin + 1) << element.mantissa_bits
    return whole + int((element.max_value / 2.0**element.emax - 1) * (1 << element.mantissa_bits))
