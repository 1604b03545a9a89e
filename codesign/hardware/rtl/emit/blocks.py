"""Combinational parts of a datapath: decoders, shifters, the maximum of exponents, normalisation.

Every function adds its nets to a Module and returns them. Widths are in bits; numbers are unsigned
unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from codesign.formats import FloatElement
from codesign.hardware.rtl.emit.verilog import Module, Net, concatenation, constant


def ceil_log2(value: int) -> int:
    """Bits of an index below `value`."""
    return max(value - 1, 0).bit_length()


@dataclass(frozen=True)
class Number:
    """(-1)**sign * significand * 2**exponent, up to a constant exponent; `exponent` is None for integers."""

    sign: Net
    significand: Net
    exponent: Net | None


def decode_float(m: Module, code: Net, element: FloatElement) -> Number:
    """Hidden bit and effective exponent max(E, 1) of a minifloat's bit pattern; special codes are ordinary."""
    mantissa, exponent = element.mantissa_bits, element.exponent_bits
    m.uses("detect", exponent + 1)
    field = m.wire(exponent, code.part(mantissa + exponent - 1, mantissa), "field")
    if mantissa == 0:  # E8M0: a power of two, no hidden zero
        return Number(m.wire(1, "1'b0", "sign"), m.wire(1, "1'b1", "one"), field)
    normal = m.wire(1, f"|{field}", "normal")
    significand = m.wire(mantissa + 1, f"{{{normal}, {code.part(mantissa - 1, 0)}}}", "sig")
    effective = m.wire(exponent, f"{field} | {{{exponent - 1}'b0, ~{normal}}}" if exponent > 1 else "1'b1", "exp")
    sign = code.bit(mantissa + exponent) if element.signed else "1'b0"
    return Number(m.wire(1, sign, "sign"), significand, effective)


def decode_integer(m: Module, code: Net) -> Number:
    """Sign and magnitude of a two's complement integer."""
    m.uses("increment", code.width)
    sign = m.wire(1, code.bit(code.width - 1), "sign")
    inverted = f"{code} ^ {{{code.width}{{{sign}}}}}"
    return Number(sign, m.wire(code.width, f"({inverted}) + {sign}", "mag"), None)


def absolute(m: Module, value: Net) -> tuple[Net, Net]:
    """(sign, magnitude) of a two's complement number; the magnitude has one bit less."""
    sign = m.wire(1, value.bit(value.width - 1), "sign")
    width = value.width - 1
    m.uses("increment", width)
    low = value.part(width - 1, 0)
    return sign, m.wire(width, f"({low} ^ {{{width}{{{sign}}}}}) + {sign}", "mag")


def maximum(m: Module, values: Sequence[Net]) -> Net:
    """The largest of numbers of one width, by a tree of comparators."""
    level = list(values)
    m.uses("compare", (len(level) - 1) * values[0].width)
    m.uses("select", (len(level) - 1) * values[0].width)
    while len(level) > 1:
        pairs = [level[i : i + 2] for i in range(0, len(level), 2)]
        level = [
            pair[0]
            if len(pair) == 1
            else m.wire(pair[0].width, f"{pair[0]} > {pair[1]} ? {pair[0]} : {pair[1]}", "max")
            for pair in pairs
        ]
    return level[0]


def shift_right(m: Module, value: Net, field: int, distance: Net, most: int) -> Net:
    """`value` at the top of `field` bits, shifted right by `distance` (at most `most`); lost bits drop.

    Small steps come first, while the number is narrow: the width grows with what has been shifted.
    """
    drop = max(value.width - field, 0)
    bits = value.bits()[drop:]  # lowest first; the top bit of the field is the last one
    for stage in range(min(distance.width, ceil_log2(most + 1))):
        step = 1 << stage
        if step >= field:
            break
        width = min(field, len(bits) + step)
        stay = ["1'b0"] * (width - len(bits)) + bits
        moved = bits + ["1'b0"] * step
        moved = moved[len(moved) - width :]
        m.uses("select", width)
        out = m.wire(width, f"{distance.bit(stage)} ? {concatenation(moved)} : {concatenation(stay)}", "shift")
        bits = out.bits()
    beyond = [distance.bit(i) for i in range(distance.width) if (1 << i) >= field and (1 << i) <= most]
    kept = m.wire(len(bits), concatenation(bits), "placed")
    if beyond:
        m.uses("detect", len(bits))
        kept = m.wire(len(bits), f"{kept} & {{{len(bits)}{{~({' | '.join(beyond)})}}}}", "placed")
    return place(m, kept, field)


def place(m: Module, value: Net, field: int) -> Net:
    """`value` at the top of `field` bits; what does not fit drops at the bottom."""
    if value.width == field:
        return value
    if value.width > field:
        return m.wire(field, value.part(value.width - 1, value.width - field), "placed")
    return m.wire(field, f"{{{value}, {field - value.width}'b0}}", "placed")


def shift_right_sticky(m: Module, value: Net, distance: Net) -> Net:
    """`value` shifted right by `distance`, what falls out ORed into the lowest bit."""
    width = value.width
    current = value
    for stage in range(min(distance.width, ceil_log2(width))):
        step = 1 << stage
        if step >= width:
            break
        m.uses("select", width)
        m.uses("detect", step)
        lost = f"|{current.part(step, 0)}"
        moved = (
            f"{{{step}'b0, {current.part(width - 1, step + 1)}, {lost}}}"
            if step + 1 < width
            else (f"{{{width - 1}'b0, |{current}}}")
        )
        current = m.wire(width, f"{distance.bit(stage)} ? {moved} : {current}", "shift")
    beyond = [distance.bit(i) for i in range(distance.width) if 1 << i >= width]
    if beyond:
        m.uses("detect", 2 * width)
        current = m.wire(width, f"({' | '.join(beyond)}) ? {{{width - 1}'b0, |{current}}} : {current}", "shift")
    return current


def normalise(m: Module, value: Net) -> tuple[Net, Net]:
    """(value shifted left until its top bit is set, that distance); a zero stays zero."""
    bits, distance = value, []
    for stage in reversed(range(ceil_log2(value.width))):
        step = 1 << stage
        m.uses("select", value.width)
        m.uses("detect", step)
        empty = m.wire(1, f"~|{bits.part(bits.width - 1, bits.width - step)}", "empty")
        moved = f"{{{bits.part(bits.width - 1 - step, 0)}, {step}'b0}}"
        bits = m.wire(value.width, f"{empty} ? {moved} : {bits}", "norm")
        distance.append(str(empty))
    if not distance:
        return value, m.wire(1, "1'b0", "lz")
    return bits, m.wire(len(distance), concatenation(reversed(distance)), "lz")


def leading_zeros(m: Module, value: Net) -> Net:
    """Number of zeros above the highest set bit, by halves; `value` must not be zero."""
    width = 1 << ceil_log2(value.width)
    bits = m.wire(width, f"{{{value}, {width - value.width}'b0}}" if width > value.width else str(value), "lzc")
    count = []
    while width > 1:
        width //= 2
        m.uses("select", width)
        m.uses("detect", width)
        empty = m.wire(1, f"~|{bits.part(2 * width - 1, width)}", "empty")
        bits = m.wire(width, f"{empty} ? {bits.part(width - 1, 0)} : {bits.part(2 * width - 1, width)}", "lzc")
        count.append(str(empty))
    return m.wire(max(len(count), 1), concatenation(reversed(count)) if count else "1'b0", "lz")


def shift_left(m: Module, value: Net, distance: Net) -> Net:
    """`value` << distance within its width."""
    current = value
    for stage in range(distance.width):
        step = 1 << stage
        if step >= value.width:
            break
        m.uses("select", value.width)
        moved = f"{{{current.part(value.width - 1 - step, 0)}, {step}'b0}}"
        current = m.wire(value.width, f"{distance.bit(stage)} ? {moved} : {current}", "shift")
    return current


def extended(net: Net, width: int) -> str:
    """A two's complement number sign-extended (or truncated) to `width` bits."""
    if net.width >= width:
        return net.part(width - 1, 0)
    return f"{{{{{width - net.width}{{{net.bit(net.width - 1)}}}}}, {net}}}"


def offset(m: Module, net: Net | None, value: int, width: int) -> str:
    """``net + value`` modulo 2**width; a constant where net is None."""
    if net is None:
        return constant(value, width)
    return f"({net} + {constant(value, width)})" if value else f"{{{width}'b0 | {net}}}"
