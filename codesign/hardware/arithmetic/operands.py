"""Properties of a number format that determine a multiplier: significand and exponent widths, and block scale."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import frexp
from typing import NamedTuple

from codesign.formats import FloatElement, FormatPair, IntElement, get_format
from codesign.formats.tabulated import LogElement


class Stored(NamedTuple):
    """How a format is stored in memory."""

    bits: int  # of an element
    shared_bits: int  # of a block besides its elements: scale and zero point
    block: int  # elements; 0 without block scales

    def bytes_per_element(self, run: int) -> float:
        """Bytes per element, scales included, where blocks run along `run` elements: each started block has a scale."""
        if not self.block:
            return self.bits / 8
        return (self.bits + self.shared_bits * (-(-run // self.block) / run)) / 8


@dataclass(frozen=True)
class Operand:
    """One operand of a multiplier, derived from the Element and Scaling of a format."""

    significand: int  # width of the multiplier's input in bits, hidden bit included; integers in two's complement
    span: int  # bit positions from the smallest value to the leading bit of the largest
    exponent: int  # width of the exponent field, or of a logarithm's integer part; 0 for integers
    bits: int  # of a stored element
    shared_bits: int  # of a stored block besides its elements: scale and zero point; 0 without blocks
    block: int  # group size along the contraction; 0 without block scales
    largest_scale: int = 0  # of a block, where scales are integers; 0 where they are not, and without blocks

    @property
    def is_integer(self) -> bool:
        return self.exponent == 0

    @property
    def stored(self) -> Stored:
        """Its size in memory."""
        return Stored(self.bits, self.shared_bits, self.block)


@cache
def operand(name: str) -> Operand:
    """The Operand of a format; raises InputError on an unknown name.

    A zero point is subtracted before the multiplier, which makes the significand one bit wider.
    """
    form = get_format(name)
    element, scaling = form.element, form.scaling
    block = (scaling.block or 0) if scaling is not None else 0
    if isinstance(element, FloatElement):
        significand, exponent = element.mantissa_bits + 1, element.exponent_bits
        span = frexp(element.max_value)[1] - frexp(element.step)[1] + 1
    elif isinstance(element, LogElement):
        significand, exponent = element.significand, element.integer_bits
        span = significand + (1 << element.integer_bits) - 1
    else:
        significand = (
            element.bits + int(form.has_zero_point) if isinstance(element, IntElement) else element.significand
        )
        exponent, span = 0, significand
    shared = 0 if scaling is None else scaling.shared_bits(element)
    scale = scaling.scale if scaling is not None and block else None
    largest = (1 << scale.bits) - 1 if isinstance(scale, IntElement) else 0
    return Operand(significand, span, exponent, element.bits, shared, block, largest)


@cache
def operands(pair: FormatPair) -> tuple[Operand, Operand]:
    """(weight, activation) operands of a pair."""
    return operand(pair.weight), operand(pair.activation)
