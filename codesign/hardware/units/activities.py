"""Names of the operand streams with which switching activity is measured: the bundled networks, and uniform noise."""

from __future__ import annotations

from codesign.hardware.units.coefficients import read_data

OPERAND_BITS = "operand_bits.json"  # written by reports/validation/operands.py
NOISE = "noise"  # uniform random codes; all other streams are layers of a network


def activities() -> tuple[str, ...]:
    """The bundled networks, then NOISE."""
    return tuple(read_data(OPERAND_BITS)["bits"])
