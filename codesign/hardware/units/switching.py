"""Switching activity of the products of a mode, which its energy depends on.

Every bit of a partial product is the AND of one bit of each operand. Let p be the probability that a significand bit is
1, and c that it is 1 in two consecutive steps. For independent operands, a partial-product bit then toggles with
probability 2 (p_w p_a - c_w c_a). data/operand_bits.json holds p and c of every format on the operands of the bundled
networks and on uniform noise (written by reports/validation/operands.py).
"""

from __future__ import annotations

from functools import lru_cache

from codesign.hardware.arithmetic.modes import Mode
from codesign.hardware.units.activities import OPERAND_BITS
from codesign.hardware.units.coefficients import read_data

_RANDOM = 3 / 16  # p_w p_a - c_w c_a of random bits


@lru_cache(maxsize=65536)
def product_activity(mode: Mode, activity: str) -> float:
    """Toggle rate of a partial-product bit, relative to random bits."""
    weight, activation = (
        operand_bits(name, side, activity)
        for name, side in ((mode.pair.weight, "weight"), (mode.pair.activation, "activation"))
    )
    return (weight[0] * activation[0] - weight[1] * activation[1]) / _RANDOM


def operand_bits(name: str, side: str, activity: str) -> tuple[float, float]:
    """Probabilities (p, c) that a significand bit is 1, and 1 in two consecutive steps. side: weight or activation."""
    row = read_data(OPERAND_BITS)["bits"][activity][side].get(name)
    if row is None:  # not in the table: measured on the operands, which needs torch
        from codesign.hardware.units.operand_streams import measured_bits

        return measured_bits(name, side, activity)
    return float(row[0]), float(row[1])
