"""Accumulators of compute units: their names, and their widths for a format pair."""

from __future__ import annotations

import re
from dataclasses import dataclass

from codesign.errors import InputError, nearest
from codesign.hardware.arithmetic.operands import Operand

EXAMPLES = ("auto", "int24", "int24_sat", "int32", "fp32", "fp16", "exact", "exact48", "aligned16", "aligned25")
# Carry and sign bits above the product range of an exact accumulator: 2^11 worst-case additions.
EXACT_HEADROOM = 12
# Window of the aligned sum in front of a floating-point accumulator when none is named.
DEFAULT_WINDOW = 25
_FLOAT_SIGNIFICAND = {32: 24, 16: 11}
_NAME = re.compile(r"(auto)|(int|exact|aligned|fp)([0-9]{0,4})(_sat)?")


@dataclass(frozen=True)
class Accumulator:
    """The accumulator of a unit for one format pair."""

    # integer (two's complement), exact (fixed point over the whole product range) or float (an aligned sum of `window`
    # bits within a dot product, then a floating-point accumulation)
    kind: str
    bits: int  # width; of the floating-point accumulator for kind float or with after_block
    window: int = 0
    after_block: bool = False  # block sums are scaled and added in floating point; `kind` is that of the sum in a block
    # of fixed-point and integer accumulators: every sum beyond the width becomes the nearest number within, not wrapped
    saturates: bool = False

    @property
    def significand(self) -> int:
        """Significand bits of the floating-point accumulation, hidden bit included; 0 without one."""
        return _FLOAT_SIGNIFICAND[self.bits] if self.kind == "float" or self.after_block else 0


def check_accumulator(name: str) -> str:
    """Return `name`; raises InputError if it is not an accumulator."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise InputError(f"unknown accumulator '{name}'{nearest(name, EXAMPLES)}")
    kind, digits = match.group(2), match.group(3)
    if (kind == "fp" and digits not in ("16", "32")) or (kind in ("int", "aligned") and not digits):
        raise InputError(f"unknown accumulator '{name}'{nearest(name, EXAMPLES)}")
    if match.group(4) and kind not in ("int", "exact"):
        raise InputError(
            f"accumulator '{name}': every floating-point accumulator saturates; take '{name.removesuffix('_sat')}'"
        )
    if digits and not 4 <= int(digits) <= 1024:
        raise InputError(f"accumulator '{name}': the width must be 4 to 1024 bits")
    return name


def resolve_accumulator(name: str, weight: Operand, activation: Operand) -> Accumulator:
    """The accumulator `name` for a pair of operands.

    ``auto``: int32 for integers without block scales, otherwise an aligned window and fp32. Block formats add their
    scaled block sums in floating point (fp32, or fp16 with ``fp16``), however a block itself is summed; integers whose
    scales are integers, too, add them as integers with ``int32`` and other widths (VS-Quant, Dai et al. 2021).
    ``int24_sat`` and ``exact48_sat`` saturate after every step, whose own sum is exact.
    Raises InputError on an invalid name, or for floating-point products in an integer accumulator.
    """
    match = _NAME.fullmatch(check_accumulator(name))
    assert match is not None
    kind, width, saturates = match.group(2) or "auto", int(match.group(3) or 0), match.group(4) is not None
    integer = weight.is_integer and activation.is_integer
    blocks = bool(weight.block or activation.block)
    if kind == "int" and not integer:
        raise InputError(f"accumulator '{name}' holds integers; floating-point products need fp32, exact or aligned25")
    by_integers = kind == "int" and all(side.largest_scale for side in (weight, activation) if side.block)
    if kind == "auto":
        kind, width = ("int", 32) if integer else ("aligned", DEFAULT_WINDOW)
    if kind == "fp":
        float_bits, window = width, DEFAULT_WINDOW if width == 32 else 16
        if integer:
            return Accumulator("integer", float_bits, after_block=True)
        return Accumulator("float", float_bits, window, after_block=blocks)
    if kind == "aligned":
        if integer:
            return Accumulator("integer", 32, after_block=True)
        return Accumulator("float", 32, width, after_block=blocks)
    if blocks and not by_integers:
        return Accumulator("integer" if integer else "exact", 32, after_block=True)
    bits = width or weight.span + activation.span + EXACT_HEADROOM
    return Accumulator("integer" if integer else "exact", bits, saturates=saturates)
