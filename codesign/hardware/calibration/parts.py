"""The kinds of one-bit cells that a unit's bill of materials counts."""

from __future__ import annotations

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
# Parts with the switching of floating-point paths (shifters and detectors glitch more than adders).
BUSY = ("increment", "compare", "select", "detect", "invert")
