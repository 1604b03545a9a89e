"""Operand streams that a unit's switching is measured with: layers of the bundled networks, and uniform noise."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from codesign.formats import get_format
from codesign.hardware.coefficients import DATA
from codesign.hardware.rtl.codes import OperandCodes, scale_steps, stepped
from codesign.hardware.rtl.modes import Side
from codesign.hardware.rtl.unit import Unit
from codesign.hardware.switching import NOISE

OPERANDS = DATA / "operands.npz"  # written by reports/validation/operands.py
_OUTPUTS = 8  # rows and columns of a layer, whose products are the streams
_STEPS = 12  # of each layer
_LANES = 16  # that operands are spread over to see which bits change

Array = npt.NDArray[np.int64]
Stimulus = dict[str, npt.NDArray[np.object_]]


@cache
def networks() -> dict[str, list[tuple[Tensor, Tensor]]]:
    """(streamed [16, K], stationary [16, K]) of some layers of each bundled network (data/operands.npz)."""
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}
    with np.load(OPERANDS) as stored:
        for name in stored.files:
            if name.endswith("/streamed"):
                layer = name.removesuffix("/streamed")
                pair = (torch.from_numpy(stored[f"{layer}/{side}"]).float() for side in ("streamed", "stationary"))
                found.setdefault(name.split("/")[0], []).append((next(pair), next(pair)))
    return found


def stimulus(unit: Unit, mode: int, activity: str) -> Stimulus:
    """Port values [cycles, 64] of one mode: dot products of 8 x 8 outputs of each layer, operands new every cycle.

    Sums stay in the unit (output stationary). "noise" draws every code uniformly, seed 0.
    """
    parts = [_noise(unit, mode)] if activity == NOISE else [_layer(unit, mode, *pair) for pair in networks()[activity]]
    ports = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    for name, side in (("ws", "weight"), ("as", "activation")):
        if unit.scale_port_bits(side) and name not in ports:
            ports[name] = np.zeros_like(ports["w"])
    if len(unit.modes) > 1:
        ports["mode"] = np.full_like(ports["w"], mode)
    return ports


def _layer(unit: Unit, mode: int, streamed: Tensor, stationary: Tensor) -> Stimulus:
    found = unit.modes[mode]
    block = max(found.weight.block, found.activation.block)
    chosen = (stationary[:: len(stationary) // _OUTPUTS][:_OUTPUTS], streamed[:: len(streamed) // _OUTPUTS][:_OUTPUTS])
    names = (found.pair.weight, found.pair.activation)
    codes = [
        OperandCodes.of(get_format(name), rows, None, index == 0, block)
        for index, (name, rows) in enumerate(zip(names, chosen, strict=True))
    ]
    weight, activation = (stepped(operand.codes, found.products)[:_STEPS] for operand in codes)
    ports = _ports(weight[..., None, :], activation[..., None], (found.weight.bits, found.activation.bits), ("w", "a"))
    scaled = [None if o.scale_codes is None else scale_steps(o, found.products)[:_STEPS] for o in codes]
    for name, side, steps in zip(("ws", "as"), (found.weight, found.activation), scaled, strict=True):
        if steps is not None and side.scale is not None:
            spread = steps[..., None, :] if name == "ws" else steps[..., None]
            shape = (*steps.shape[:2], _OUTPUTS, _OUTPUTS)
            ports[name] = _packed(np.broadcast_to(spread, shape).reshape(*steps.shape[:2], -1), side.scale.bits)
    ports["first"] = _first(len(weight), unit.interleave)
    return ports


@cache
def measured_bits(name: str, side: str, activity: str) -> tuple[float, float]:
    """What `switching.operand_bits` tables, from the operands: of 16 lanes, over the first steps of each layer."""
    operand = Side.of(name)
    if activity == NOISE:
        streams = [np.random.default_rng(0).integers(0, 1 << operand.bits, (64, _LANES, 2 * _OUTPUTS))]
    else:
        index = ("activation", "weight").index(side)  # as `networks` has them
        rows = [pair[index] for pair in networks()[activity]]
        chosen = [part[:: len(part) // _OUTPUTS][:_OUTPUTS] for part in rows]
        coded = [OperandCodes.of(get_format(name), part, None, side == "weight", operand.block) for part in chosen]
        streams = [stepped(codes.codes, _LANES)[:_STEPS] for codes in coded]
    found = []
    for codes in streams:
        bits = _significand(codes, operand)[..., None] >> np.arange(operand.significand) & 1
        found.append((bits.mean(), (bits[1:] * bits[:-1]).mean()))
    density, lasting = np.mean(found, axis=0)
    return float(density), float(lasting)


def _significand(codes: Array, side: Side) -> Array:
    """Bits that are multiplied: two's complement of integers, the magnitude of a minifloat with its hidden bit."""
    if side.element is None:
        return codes & (1 << side.bits) - 1
    kept = side.element.mantissa_bits
    normal = codes >> kept & (1 << side.element.exponent_bits) - 1 > 0
    return normal.astype(np.int64) << kept | codes & (1 << kept) - 1


def _ports(weight: Array, activation: Array, bits: tuple[int, int], names: tuple[str, str]) -> Stimulus:
    shape = (*weight.shape[:2], _OUTPUTS, _OUTPUTS)
    return {
        name: _packed(np.broadcast_to(codes, shape).reshape(*shape[:2], -1), width)
        for name, codes, width in zip(names, (weight, activation), bits, strict=True)
    }


def _noise(unit: Unit, mode: int) -> Stimulus:
    found, rng, cycles = unit.modes[mode], np.random.default_rng(0), 3 * _STEPS
    streams = _OUTPUTS * _OUTPUTS

    def drawn(bits: int, count: int) -> npt.NDArray[np.object_]:
        return _packed(rng.integers(0, 1 << bits, (cycles, count, streams)), bits)

    ports = {"w": drawn(found.weight.bits, found.products), "a": drawn(found.activation.bits, found.products)}
    for name, side in (("ws", "weight"), ("as", "activation")):
        operand = getattr(found, side)
        if operand.scale is not None:
            ports[name] = drawn(operand.scale.bits, unit.scales(found, side))
    ports["first"] = _first(cycles, unit.interleave)
    return ports


def _first(cycles: int, interleave: int) -> npt.NDArray[np.object_]:
    first = np.zeros((cycles, _OUTPUTS * _OUTPUTS), dtype=object)
    first[:interleave] = 1
    return first


def _packed(codes: Array, bits: int) -> npt.NDArray[np.object_]:
    """Codes [cycles, n, streams] side by side in one integer each, lowest first: [cycles, streams]."""
    mask = (1 << bits) - 1
    total = np.zeros((codes.shape[0], codes.shape[2]), dtype=object)
    for index in range(codes.shape[1]):
        total += (codes[:, index] & mask).astype(object) << (index * bits)
    return total
