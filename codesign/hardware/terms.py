"""The physical parts of a dot-product unit, counted: what the coefficients of the area model multiply.

A unit multiplies `lanes` pairs of operands, brings the products to one scale, adds them in a tree
and accumulates the sum once. Every count is a number of one-bit cells; the structure is that of
fused dot-product units (MSFP, Rouhani et al. 2020; ExSdotp, Bertaccini et al. 2022; "FP8 versus
INT8", van Baalen et al. 2023): what happens once per product scales with `lanes`, what happens once
per sum does not, and that decides how much more a float costs than an integer.
"""

from __future__ import annotations

from math import ceil, log2

import numpy as np

from codesign.hardware.accumulators import Accumulator
from codesign.hardware.operands import Operand

TERMS = (
    "partial_products",  # AND gates of the multipliers: Ma * Mb
    "full_adders",  # their reduction: (Ma - 1) * (Mb - 1)
    "carry_propagate",  # the final adder of each product: Ma + Mb
    "exponent_add",  # exponent sum, and its distance to the largest one
    "max_exponent",  # comparator tree over the lanes
    "alignment",  # selectors that shift products to one scale and normalise the sum
    "adder_tree",  # sum over levels k of lanes / 2^k adders of W + k bits
    "accumulate",  # integer or exact accumulator adder
    "float_accumulate",  # floating-point addition: align, add, normalise, round
    "scale",  # block scales: exponent add, or significand multiplier
    "registers",  # operands and accumulator
)
FLOAT_TERMS = ("exponent_add", "max_exponent", "alignment", "float_accumulate", "scale")
_SCALE_EXPONENT_BITS = 8


def unit_terms(
    weight: Operand, activation: Operand, accumulator: Accumulator, lanes: int, bricks: int = 1
) -> np.ndarray:
    """Counts in the order of TERMS, float64 [11], of one unit of `lanes` multipliers.

    bricks: products that each multiplier makes at once. Integer sub-products are merged inside the
    multiplier (their shift-add is priced with the modes); floating-point ones differ in exponent and
    count as further lanes.
    """
    if accumulator.kind != "integer":
        lanes, bricks = lanes * bricks, 1
    a, b = weight.significand, activation.significand
    product = a + b + _log(bricks)
    counts = dict.fromkeys(TERMS, 0.0)
    counts["partial_products"] = lanes * bricks * a * b
    counts["full_adders"] = lanes * bricks * (a - 1) * (b - 1)
    counts["carry_propagate"] = lanes * product
    summand = product
    if accumulator.kind != "integer":
        summand = _bring_to_one_scale(counts, weight, activation, accumulator, lanes)
    counts["adder_tree"] = _tree(lanes, summand)
    total = summand + _log(lanes)
    if accumulator.significand:
        if lanes > 1 or accumulator.kind != "float":
            counts["alignment"] += total * (_log(total) + 1)  # the sum becomes a float
        counts["float_accumulate"] = accumulator.significand * _log(accumulator.significand)
    else:
        counts["accumulate"] = accumulator.bits
    if accumulator.after_block:
        counts["scale"] = _scale(weight, activation, accumulator)
    counts["registers"] = lanes * bricks * (weight.bits + activation.bits) + accumulator.bits
    return np.array([counts[name] for name in TERMS], dtype=np.float64)


def _bring_to_one_scale(
    counts: dict[str, float], weight: Operand, activation: Operand, accumulator: Accumulator, lanes: int
) -> int:
    """Exponents and shifters in front of the tree; returns the width of one summand."""
    product = weight.significand + activation.significand
    exponent = max(weight.exponent, activation.exponent) + 1
    both = bool(weight.exponent and activation.exponent)
    counts["exponent_add"] = lanes * exponent * both
    span = weight.span + activation.span
    if accumulator.kind == "exact" or accumulator.window >= span:
        counts["alignment"] = lanes * (_growing_shifter(product, span) + span)
        return span + 1
    if lanes == 1:  # the floating-point adder aligns the single product
        return product
    counts["exponent_add"] += lanes * exponent
    counts["max_exponent"] = (lanes - 1) * exponent
    counts["alignment"] = lanes * accumulator.window * (_log(accumulator.window) + 1)
    return accumulator.window + 1


def _growing_shifter(width: int, span: int) -> int:
    """Selectors of a left shifter from `width` bits into `span` positions, narrow stages first."""
    stages = _log(span - width + 1)
    return sum(min(span, width + (2 << stage) - 1) for stage in range(stages))


def _tree(lanes: int, width: int) -> float:
    """Adder bits: level k has lanes / 2^k adders, each one bit wider than the level before."""
    return sum(lanes / (1 << level) * (width + level - 1) for level in range(1, _log(lanes) + 1))


def _scale(weight: Operand, activation: Operand, accumulator: Accumulator) -> float:
    """Scale hardware, once per unit: exponents add; significands that are no power of two multiply."""
    bits = 0.0
    if weight.block or activation.block:
        bits = 2.0 * _SCALE_EXPONENT_BITS
        significand = max(weight.scale_significand, 1) * max(activation.scale_significand, 1)
        wide = max(weight.scale_significand, 1) + max(activation.scale_significand, 1) - 1
        if significand > 1:
            bits += significand + wide * accumulator.significand
    return bits


def _log(value: int | float) -> int:
    return ceil(log2(value)) if value > 1 else 0
