"""Combinational blocks of a datapath: decoders, shifters, maximum, normalisation.

Every function adds nets to a Module and returns its outputs. Widths are in bits; numbers are unsigned unless stated
otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from codesign.formats import FloatElement
from codesign.formats.tabulated import CodebookElement, LogElement
from codesign.hardware.rtl.emit.expressions import (
    ONE,
    ZERO,
    Expression,
    Value,
    any_of,
    concatenation,
    joined,
    replicated,
    widened,
    zeros,
)
from codesign.hardware.rtl.emit.lookup import lookup
from codesign.hardware.rtl.emit.verilog import Module, Net

POSITIVE, SET = Net("1'b0", 1), Net("1'b1", 1)


def ceil_log2(value: int) -> int:
    """ceil(log2(value)): the bits of an index below `value`."""
    return max(value - 1, 0).bit_length()


@dataclass(frozen=True)
class Number:
    """(-1)**sign * significand * 2**exponent, up to a constant factor of a power of two."""

    sign: Net
    significand: Net
    exponent: Net | None  # None for integers


def decode_float(m: Module, code: Net, element: FloatElement) -> Number:
    """Significand with hidden bit, and effective exponent max(E, 1), of a minifloat; NaN and infinity not special.

    Without mantissa bits the significand is the hidden bit; an unsigned power of two has none, and no zero.
    """
    mantissa, exponent = element.mantissa_bits, element.exponent_bits
    field = m.wire(exponent, code.part(mantissa + exponent - 1, mantissa), "field")
    if not element.has_zero:
        return Number(POSITIVE, SET, field)
    normal = m.wire(1, field.any(), "normal")
    fraction: list[Value] = [code.part(mantissa - 1, 0)] if mantissa else []
    if not element.subnormals:
        fraction = [(fraction[0] & replicated(mantissa, normal)).grouped()]
    significand = m.wire(mantissa + 1, joined(normal, *fraction), "sig")
    effective = m.wire(exponent, field | joined(zeros(exponent - 1), ~normal) if exponent > 1 else ONE, "exp")
    sign = code.bit(mantissa + exponent) if element.signed else ZERO
    return Number(m.wire(1, sign, "sign"), significand, effective)


def decode_logarithm(m: Module, code: Net, element: LogElement) -> Number:
    """The antilogarithm of the fraction, and the integer part as exponent; a significand of 0 for zero."""
    low, bits = element.fraction_bits, element.bits
    present = m.wire(1, code.part(bits - 2, 0).any(), "present")
    fraction = m.wire(low, code.part(low - 1, 0), "fraction")
    significand = antilogarithm(m, fraction, element, present)
    exponent = m.wire(bits - 1 - low, code.part(bits - 2, low), "exp")
    return Number(m.wire(1, code.bit(bits - 1), "sign"), significand, exponent)


def antilogarithm(m: Module, fraction: Net, element: LogElement, present: Net) -> Net:
    """The significand of a fraction of as many bits as the element's; 0 unless `present`."""
    width = element.significand
    found = lookup(m, fraction, element.antilogs, width)
    return m.wire(width, found & replicated(width, present), "sig")


def multiply_logarithms(m: Module, codes: tuple[Net, Net], elements: tuple[LogElement, LogElement]) -> Number:
    """The product of two logarithmic numbers: the antilogarithm of the sum."""
    wider = max(elements, key=lambda element: element.fraction_bits)
    low = wider.fraction_bits
    parts, present = [], []
    for code, element in zip(codes, elements, strict=True):
        logarithm = code.part(element.bits - 2, 0)
        missing = low - element.fraction_bits
        width = element.bits - 1 + missing
        parts.append(m.wire(width, joined(logarithm, zeros(missing)) if missing else logarithm, "log"))
        present.append(m.wire(1, logarithm.any(), "present"))
    total = max(part.width for part in parts) + 1
    added = m.wire(total, parts[0] + parts[1], "log_sum")
    both = m.wire(1, present[0] & present[1], "present")
    significand = antilogarithm(m, m.wire(low, added.part(low - 1, 0), "fraction"), wider, both)
    exponent = m.wire(total - low, added.part(total - 1, low), "exp")
    sign = codes[0].bit(elements[0].bits - 1) ^ codes[1].bit(elements[1].bits - 1)
    return Number(m.wire(1, sign, "sign"), significand, exponent)


def decode_codebook(m: Module, code: Net, element: CodebookElement) -> Number:
    """Sign and magnitude of a codebook's number, as wide as its two's complement."""
    width = element.significand
    magnitude = lookup(m, code, [abs(number) for number in element.by_code], width)
    return Number(lookup(m, code, [int(number < 0) for number in element.by_code], 1), magnitude, None)


def decode_integer(m: Module, code: Net) -> Number:
    """Sign and magnitude of a two's complement integer."""
    sign = m.wire(1, code.bit(code.width - 1), "sign")
    inverted = code ^ replicated(code.width, sign)
    return Number(sign, m.wire(code.width, inverted.grouped() + widened(sign, 1, code.width), "mag"), None)


def absolute(m: Module, value: Net) -> tuple[Net, Net]:
    """(sign, magnitude) of a two's complement number; the magnitude is one bit narrower."""
    sign = m.wire(1, value.bit(value.width - 1), "sign")
    width = value.width - 1
    low = value.part(width - 1, 0)
    return sign, m.wire(width, (low ^ replicated(width, sign)).grouped() + widened(sign, 1, width), "mag")


def saturated(m: Module, value: Net, width: int) -> Net:
    """A two's complement number in `width` bits: the nearest one that they hold."""
    top = value.width - 1
    sign = m.wire(1, value.bit(top), "sign")
    differs = m.wire(top - width + 1, value.part(top - 1, width - 1) ^ replicated(top - width + 1, sign), "beyond")
    end = joined(sign, replicated(width - 1, ~sign))
    return m.wire(width, differs.any().grouped().choose(end, value.part(width - 1, 0)), "next")


def maximum(m: Module, values: Sequence[Net]) -> Net:
    """The largest of numbers of equal width, by a tree of comparators."""
    level = list(values)
    while len(level) > 1:
        pairs = [level[i : i + 2] for i in range(0, len(level), 2)]
        level = [
            pair[0]
            if len(pair) == 1
            else m.wire(pair[0].width, pair[0].exceeds(pair[1]).choose(pair[0], pair[1]), "max")
            for pair in pairs
        ]
    return level[0]


def shift_right(m: Module, value: Net, field: int, distance: Net, most: int) -> Net:
    """`value` at the top of `field` bits, shifted right by `distance` (at most `most`); bits shifted out are dropped.

    A barrel shifter whose small shifts come first, while the number is narrow: the width grows with every stage.
    """
    drop = max(value.width - field, 0)
    if drop:
        m.ignore(value.part(drop - 1, 0))
    bits = value.bits()[drop:]  # least significant first; the last one is the top bit of the field
    for stage in range(min(distance.width, ceil_log2(most + 1))):
        step = 1 << stage
        if step >= field:
            break
        width = min(field, len(bits) + step)
        stay = [ZERO] * (width - len(bits)) + bits
        moved = bits + [ZERO] * step
        moved = moved[len(moved) - width :]
        out = m.wire(width, distance.bit(stage).choose(concatenation(moved), concatenation(stay)), "shift")
        bits = out.bits()
    beyond = [distance.bit(i) for i in range(distance.width) if (1 << i) >= field and (1 << i) <= most]
    kept = m.wire(len(bits), concatenation(bits), "placed")
    if beyond:
        kept = m.wire(len(bits), kept & replicated(len(bits), ~any_of(beyond).grouped()), "placed")
    return place(m, kept, field)


def place(m: Module, value: Net, field: int) -> Net:
    """`value` at the top of `field` bits; low bits that do not fit are dropped."""
    if value.width == field:
        return value
    if value.width > field:
        m.ignore(value.part(value.width - field - 1, 0))
        return m.wire(field, value.part(value.width - 1, value.width - field), "placed")
    return m.wire(field, joined(value, zeros(field - value.width)), "placed")


def shift_right_sticky(m: Module, value: Net, distance: Net) -> Net:
    """`value` shifted right by `distance`, with the bits shifted out ORed into the lowest bit (sticky)."""
    width = value.width
    current = value
    for stage in range(min(distance.width, ceil_log2(width))):
        step = 1 << stage
        if step >= width:
            break
        lost = current.part(step, 0).any()
        moved = (
            joined(zeros(step), current.part(width - 1, step + 1), lost)
            if step + 1 < width
            else joined(zeros(width - 1), current.any())
        )
        current = m.wire(width, distance.bit(stage).choose(moved, current), "shift")
    beyond = [distance.bit(i) for i in range(distance.width) if 1 << i >= width]
    if beyond:
        lost = joined(zeros(width - 1), current.any())
        current = m.wire(width, any_of(beyond).grouped().choose(lost, current), "shift")
    return current


def normalise(m: Module, value: Net) -> tuple[Net, Net]:
    """(value shifted left until its top bit is set, the distance); zero stays zero."""
    bits = value
    distance: list[Net] = []
    for stage in reversed(range(ceil_log2(value.width))):
        step = 1 << stage
        empty = m.wire(1, bits.part(bits.width - 1, bits.width - step).none(), "empty")
        moved = joined(bits.part(bits.width - 1 - step, 0), zeros(step))
        bits = m.wire(value.width, empty.choose(moved, bits), "norm")
        distance.append(empty)
    if not distance:
        return value, m.wire(1, ZERO, "lz")
    return bits, m.wire(len(distance), concatenation(reversed(distance)), "lz")


def leading_zeros(m: Module, value: Net) -> Net:
    """Number of leading zeros by binary search; `value` must not be zero."""
    width = 1 << ceil_log2(value.width)
    bits = m.wire(width, joined(value, zeros(width - value.width)) if width > value.width else value, "lzc")
    count: list[Net] = []
    while width > 1:
        width //= 2
        empty = m.wire(1, bits.part(2 * width - 1, width).none(), "empty")
        if width > 1:
            bits = m.wire(width, empty.choose(bits.part(width - 1, 0), bits.part(2 * width - 1, width)), "lzc")
        count.append(empty)
    if value.width > 1:
        m.ignore(bits.bit(0))
    return m.wire(max(len(count), 1), concatenation(reversed(count)) if count else ZERO, "lz")


def shift_left(m: Module, value: Net, distance: Net) -> Net:
    """`value` << distance within its width."""
    current = value
    for stage in range(distance.width):
        step = 1 << stage
        if step >= value.width:
            break
        moved = joined(current.part(value.width - 1 - step, 0), zeros(step))
        current = m.wire(value.width, distance.bit(stage).choose(moved, current), "shift")
    return current


def extended(net: Net, width: int) -> Expression:
    """A two's complement number sign-extended (or truncated) to `width` bits."""
    if net.width >= width:
        return net.part(width - 1, 0)
    return joined(replicated(width - net.width, net.bit(net.width - 1)), net)
