"""Floating-point accumulation in hardware: an exact addition, rounded once to nearest even.

Subnormals are kept, overflow saturates at the largest finite number, zero is +0, as in `twin`.
"""

from __future__ import annotations

from dataclasses import dataclass

from codesign.formats import FloatElement
from codesign.hardware.rtl.emit.blocks import leading_zeros, shift_left, shift_right_sticky
from codesign.hardware.rtl.emit.expressions import ZERO, Value, constant, joined, replicated, widened, zeros
from codesign.hardware.rtl.emit.pipeline import Pipeline
from codesign.hardware.rtl.emit.verilog import Module, Net

_GUARD = 3  # guard, round and sticky bits below the wider significand


@dataclass(frozen=True)
class Summand:
    """A normalised number to accumulate."""

    sign: Net
    exponent: Net  # of the top bit, biased as in the accumulator, plus zero_at; 0 for zero
    significand: Net  # the top bit is set, unless the number is zero
    zero_at: int  # makes the exponent non-negative


def accumulate(m: Module, pipe: Pipeline, accumulator: Net, summand: Summand, element: FloatElement) -> Net:
    """accumulator + summand as a bit pattern of `element`; has the steps fp_align and fp_add of `pipe`."""
    mantissa, wide = element.mantissa_bits, summand.exponent.width
    width = max(mantissa + 1, summand.significand.width)
    field = accumulator.part(element.bits - 2, mantissa)
    normal = m.wire(1, field.any(), "normal")
    biased = widened(field, element.exponent_bits, wide)
    own_exponent = m.wire(wide, biased + constant(summand.zero_at, wide) + widened(~normal, 1, wide), "acc_exp")
    own = m.wire(width, _at_top(joined(normal, accumulator.part(mantissa - 1, 0)), mantissa + 1, width), "acc_sig")
    own_sign = m.wire(1, accumulator.bit(element.bits - 1), "acc_sign")
    other = m.wire(width, _at_top(summand.significand, summand.significand.width, width), "sig")

    larger = m.wire(1, joined(summand.exponent, other).exceeds(joined(own_exponent, own)), "larger")
    big = m.wire(width, larger.choose(other, own), "big")
    small = m.wire(width, larger.choose(own, other), "small")
    exponent = m.wire(wide, larger.choose(summand.exponent, own_exponent), "exp")
    distance = m.wire(wide, exponent - larger.choose(own_exponent, summand.exponent).grouped(), "dist")
    sign = m.wire(1, larger.choose(summand.sign, own_sign), "sign")
    subtract = m.wire(1, summand.sign ^ own_sign, "sub")
    frame = width + _GUARD
    aligned = shift_right_sticky(m, m.wire(frame, joined(small, zeros(_GUARD)), "small"), distance)
    big, aligned, exponent, sign, subtract = pipe("fp_align", big, aligned, exponent, sign, subtract)

    inverted = joined(ZERO, aligned) ^ replicated(frame + 1, subtract)
    carried = widened(subtract, 1, frame + 1)
    total = m.wire(frame + 1, joined(ZERO, big, zeros(_GUARD)) + inverted.grouped() + carried, "total")
    if summand.zero_at:  # a subnormal accumulator has the larger exponent, yet may be the smaller number
        negative = m.wire(1, subtract & total.bit(frame), "negative")
        flipped = (total ^ replicated(frame + 1, negative)).grouped() + widened(negative, 1, frame + 1)
        sign = m.wire(1, sign ^ negative, "sign")
        total = m.wire(frame + 1, flipped, "total")
    total, exponent, sign = pipe("fp_add", total, exponent, sign)
    return _rounded(m, total, exponent, sign, summand.zero_at, element)


def _rounded(m: Module, total: Net, exponent: Net, sign: Net, zero_at: int, element: FloatElement) -> Net:
    """Normalise (with gradual underflow), round to nearest even, saturate and pack."""
    mantissa, top, wide = element.mantissa_bits, total.width - 1, exponent.width
    true = m.wire(wide, exponent - constant(zero_at, wide), "exp") if zero_at else exponent
    # a marker at the smallest normal exponent stops the normalisation shift there (gradual underflow)
    marker = m.wire(total.width, constant(1 << top, total.width).shifted_right(true), "marker")
    empty = leading_zeros(m, m.wire(total.width, total | marker, "marked"))
    value = shift_left(m, total, empty)
    bits = max(wide, empty.width) + 1
    biased = (widened(true, wide, bits) + constant(1, bits) - widened(empty, empty.width, bits)).grouped()
    field = m.wire(bits, value.bit(top).choose(biased, zeros(bits)), "field")
    fraction = value.part(top - 1, top - mantissa)
    guard = value.bit(top - mantissa - 1)
    sticky = value.part(top - mantissa - 2, 0).any()
    increment = m.wire(1, guard & (sticky | value.bit(top - mantissa)).grouped(), "inc")
    packed = m.wire(bits + mantissa, joined(field, fraction) + widened(increment, 1, bits + mantissa), "packed")
    size = element.exponent_bits
    high = packed.part(bits + mantissa - 1, mantissa)
    overflow = m.wire(1, high.reaches(constant((1 << size) - 1, bits)), "overflow")
    largest = constant((((1 << size) - 1) << mantissa) - 1, size + mantissa)
    magnitude = m.wire(size + mantissa, overflow.choose(largest, packed.part(size + mantissa - 1, 0)), "magnitude")
    signed = m.wire(1, sign & total.any().grouped(), "sign")
    return m.wire(element.bits, joined(signed, magnitude), "next")


def _at_top(number: Value, width: int, to: int) -> Value:
    """`number` of `width` bits at the top of `to` bits."""
    return number if width == to else joined(number, zeros(to - width))
