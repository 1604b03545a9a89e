"""The streams of operands that switching is measured with: layers of the bundled networks, and uniform noise."""

from __future__ import annotations

from codesign.hardware.units.coefficients import read_data

OPERAND_BITS = "operand_bits.json"  # written by reports/validation/operands.py
NOISE = "noise"  # uniform random codes; all others are networks


def activities() -> tuple[str, ...]:
    """Names of the operand streams: the bundled networks, then uniform noise."""
    return tuple(read_data(OPERAND_BITS)["bits"])
