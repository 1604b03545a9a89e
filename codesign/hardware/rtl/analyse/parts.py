"""Bill of materials of a unit: numbers of one-bit cells by kind, as counted by the generator."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from codesign.hardware.rtl.analyse.built import built
from codesign.hardware.rtl.emit.unit import Unit

PARTS = (
    "register",  # operand, pipeline and accumulator flip-flops
    "partial_product",  # AND gates of the multipliers
    "full_adder",  # carry-save adders: multiplier arrays and adder trees
    "half_adder",
    "carry_propagate",  # adders with a carry chain: products, sums, exponents, accumulation
    "increment",  # magnitudes of two's complement numbers, rounding
    "compare",  # largest exponent, larger summand
    "select",  # two-way selectors: alignment, normalisation, maxima
    "mode_select",  # selectors that sharing a unit between formats adds
    "detect",  # zero detection, sticky bits, hidden bits
    "invert",  # signs applied to magnitudes
)

Vector = npt.NDArray[np.float64]


@lru_cache(maxsize=65536)
def counts_of(unit: Unit) -> Vector:
    """A unit's bill of materials in the order of PARTS, float64 [parts], read-only."""
    parts = built(unit).parts
    return _frozen(np.array([parts.get(part, 0) for part in PARTS], dtype=np.float64))


@lru_cache(maxsize=65536)
def own_parts(unit: Unit, mode: int) -> Vector:
    """The part of a unit's bill of materials that one mode uses, as `counts_of`.

    The smaller of this unit's counts and those of a unit for the mode's pair alone.
    """
    if len(unit.modes) == 1:
        return counts_of(unit)
    alone = replace(unit, pairs=(unit.pairs[mode],), lanes=unit.modes[mode].products, rates=(1,))
    return _frozen(np.minimum(counts_of(alone), counts_of(unit)))


def _frozen(counts: Vector) -> Vector:
    """A read-only array, as cached results are shared."""
    counts.setflags(write=False)
    return counts
