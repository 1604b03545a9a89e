"""Names of the operand streams with which switching activity is measured: the bundled networks, and uniform noise."""

from __future__ import annotations

NOISE = "noise"  # uniform random codes; all other streams are layers of a network
NETWORKS = ("restore", "rewrite")  # of which data/operand_codes.npz holds layers


def activities() -> tuple[str, ...]:
    """The bundled networks, then NOISE."""
    return (*NETWORKS, NOISE)
