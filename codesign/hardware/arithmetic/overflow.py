"""Overflow of fixed-point accumulators: worst-case bounds over all codes that a format's quantizer produces.

What an accumulator that saturates loses is no fault but a deviation, measured on operands of a layer
(`rtl.verify.deviation`), as that of a floating-point one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Protocol

from codesign.errors import InputError
from codesign.formats import FloatElement, Format, FormatPair, get_format
from codesign.formats.tabulated import CodebookElement, LogElement
from codesign.hardware.arithmetic.accumulators import Accumulator, resolve_accumulator
from codesign.hardware.arithmetic.operands import operands


class Summing(Protocol):
    """The properties of a compute unit that determine whether its sums can overflow, such as a `MacUnit`."""

    @property
    def pairs(self) -> tuple[FormatPair, ...]: ...
    @property
    def accumulator(self) -> str: ...


@dataclass(frozen=True)
class Reduction:
    """The longest dot product of a pair, which occurs in `layer` of `task`."""

    task: str
    layer: str
    pair: FormatPair
    k: int  # products


def resolved(pair: FormatPair, accumulator: str) -> Accumulator:
    """The accumulator of a pair; raises InputError if it cannot hold the pair's products."""
    return resolve_accumulator(accumulator, *operands(pair))


def required_bits(pair: FormatPair, k: int) -> int:
    """Width of the narrowest two's complement accumulator that no sum of `k` products of `pair` can overflow.

    Its lowest bit is that of the smallest product: 1 for integers, the product of the smallest subnormals for
    minifloats. Integer block scales are included, others are not.
    """
    weight, activation = get_format(pair.weight), get_format(pair.activation)
    (low_w, high_w), (low_a, high_a) = _range(weight), _range(activation)
    times = k * prod(side.largest_scale or 1 for side in operands(pair))
    highest = times * max(high_w * high_a, low_w * low_a)
    lowest = times * min(high_w * low_a, low_w * high_a)
    if isinstance(weight.element, LogElement) and isinstance(activation.element, LogElement):
        # one antilogarithm, of the longer fraction, in place of two
        lost = min(weight.element.significand, activation.element.significand) - 1
        highest, lowest = k * ((highest // k >> lost) + 1), k * ((lowest // k >> lost) - 1)
    return max(highest.bit_length(), (-lowest - 1).bit_length()) + 1


def worst_case_fits(pair: FormatPair, accumulator: str, k: int, bits: int | None = None) -> bool:
    """Whether no sum of `k` products can overflow; floating-point accumulators saturate and always fit.

    bits: width of the accumulator, if a unit of several formats has a wider one.
    """
    found = resolved(pair, accumulator)
    return found.significand > 0 or (bits or found.bits) >= required_bits(pair, k)


def fixed_bits(unit: Summing) -> int:
    """Width of the fixed-point accumulator shared by the formats of a unit; 0 if all are floating-point."""
    found = (resolved(pair, unit.accumulator) for pair in unit.pairs)
    return max((a.bits for a in found if not a.significand), default=0)


def check_overflow(unit: Summing, reductions: Iterable[Reduction]) -> None:
    """Raises InputError naming a layer whose sum can wrap around in this unit, and the width that suffices."""
    bits = fixed_bits(unit)
    for r in reductions:
        found = resolved(r.pair, unit.accumulator)
        if r.pair.datapath not in unit.pairs or found.saturates:
            continue
        if not worst_case_fits(r.pair, unit.accumulator, r.k, bits):
            needed = f"{'int' if found.kind == 'integer' else 'exact'}{required_bits(r.pair, r.k)}"
            raise InputError(
                f"accumulator '{unit.accumulator}' has {bits} bits, which {r.task} layer '{r.layer}' can overflow: "
                f"it sums K = {r.k} products of {r.pair.formats}; take {needed} or fp32"
            )


def _range(form: Format) -> tuple[int, int]:
    """Lowest and highest input of the multiplier, in units of the element's smallest step."""
    element = form.element
    if isinstance(element, FloatElement):
        highest = int(element.max_value / element.step)
        return -highest, highest
    if isinstance(element, LogElement):
        highest = element.antilogs[-1] << (1 << element.integer_bits) - 1
        return -highest, highest
    if isinstance(element, CodebookElement):
        return element.numbers[0], element.numbers[-1]
    if form.has_zero_point:  # code minus zero point, both anywhere in the range
        span = element.max_code - element.min_code
        return -span, span
    return element.min_code, element.max_code
