"""Operands of layers of the bundled networks, and bit statistics of number formats on them."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from codesign.formats import FloatElement, get_format
from codesign.hardware.arithmetic.modes import Side
from codesign.hardware.rtl.verify.codes import OperandCodes, stepped
from codesign.hardware.rtl.verify.twin import decoded
from codesign.hardware.units.activities import NOISE
from codesign.hardware.units.coefficients import DATA

OPERANDS = DATA / "operands.npz"  # written by reports/validation/operands.py
OUTPUTS = 8  # rows and columns of a layer, whose dot products are the streams
STEPS = 12  # per layer
_MANTISSA = 10  # bits of the mantissas in OPERANDS (float16): a format with more has random bits below them
_LANES = 16  # lanes of the unit for which bit statistics are measured

Array = npt.NDArray[np.int64]


@cache
def networks() -> dict[str, list[tuple[Tensor, Tensor]]]:
    """Network -> (streamed [16, K], stationary [16, K]) of some of its layers, from data/operands.npz."""
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}
    with np.load(OPERANDS) as stored:
        for name in stored.files:
            if name.endswith("/streamed"):
                layer = name.removesuffix("/streamed")
                pair = (torch.from_numpy(stored[f"{layer}/{side}"]).float() for side in ("streamed", "stationary"))
                found.setdefault(name.split("/")[0], []).append((next(pair), next(pair)))
    return found


@cache
def measured_bits(name: str, side: str, activity: str) -> tuple[float, float]:
    """As `switching.operand_bits`, measured on the operands: on 16 lanes, over the first steps of each layer."""
    operand = Side.of(name)
    if activity == NOISE:
        streams = [np.random.default_rng(0).integers(0, 1 << operand.bits, (64, _LANES, 2 * OUTPUTS))]
    else:
        index = ("activation", "weight").index(side)  # as `networks` has them
        rows = [pair[index] for pair in networks()[activity]]
        chosen = [part[:: len(part) // OUTPUTS][:OUTPUTS] for part in rows]
        coded = [OperandCodes.of(get_format(name), part, None, side == "weight", operand.block) for part in chosen]
        streams = [_filled(stepped(codes.codes, _LANES)[:STEPS], operand) for codes in coded]
    found = []
    for codes in streams:
        bits = _significand(codes, operand)[..., None] >> np.arange(operand.significand) & 1
        found.append((bits.mean(), (bits[1:] * bits[:-1]).mean()))
    density, lasting = np.mean(found, axis=0)
    return float(density), float(lasting)


def _filled(codes: Array, side: Side) -> Array:
    """Codes with random bits for those that OPERANDS does not hold."""
    missing = side.element.mantissa_bits - _MANTISSA if isinstance(side.element, FloatElement) else 0
    if missing <= 0:
        return codes
    return codes | np.random.default_rng(0).integers(0, 1 << missing, codes.shape)


def _significand(codes: Array, side: Side) -> Array:
    """Inputs of the multiplier: integers in two's complement, magnitudes of others (with the hidden bit)."""
    significands = decoded(codes, side)[0]
    return significands & (1 << side.significand) - 1 if side.is_integer else np.abs(significands)
