"""How often the products of a mode change on real operands: what its energy depends on beside its hardware.

Every bit of a partial product is the AND of one bit of each operand. With p the density of ones among an
operand's significand bits and c that of ones that stay from one step to the next, independent operands change a
product bit with probability 2 (p_w p_a - c_w c_a). data/operand_bits.json holds p and c of every format on the
operands of the bundled networks and on uniform noise (reports/validation/operands.py).
"""

from __future__ import annotations

from functools import lru_cache

from codesign.hardware.arithmetic.modes import Mode
from codesign.hardware.units.activities import OPERAND_BITS
from codesign.hardware.units.coefficients import read_data

_RANDOM = 3 / 16  # p_w p_a - c_w c_a of random bits


@lru_cache(maxsize=65536)
def product_activity(mode: Mode, activity: str) -> float:
    """Changes of a product bit in one step, over those of random bits."""
    weight, activation = (
        operand_bits(name, side, activity)
        for name, side in ((mode.pair.weight, "weight"), (mode.pair.activation, "activation"))
    )
    return (weight[0] * activation[0] - weight[1] * activation[1]) / _RANDOM


def operand_bits(name: str, side: str, activity: str) -> tuple[float, float]:
    """Density of ones among significand bits and of ones that stay for a step. side: weight or activation."""
    row = read_data(OPERAND_BITS)["bits"][activity][side].get(name)
    if row is None:  # a format that the table does not list, from the operands themselves, which takes torch
        from codesign.hardware.units.operand_streams import measured_bits

        return measured_bits(name, side, activity)
    return float(row[0]), float(row[1])
