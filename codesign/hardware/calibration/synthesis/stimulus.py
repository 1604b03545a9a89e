"""Stimulus at the ports of a unit for measuring its switching activity: operands of real layers, or noise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from codesign.formats import get_format
from codesign.hardware.rtl.emit.unit import Unit
from codesign.hardware.rtl.verify.codes import OperandCodes, scale_steps, stepped
from codesign.hardware.units.activities import NOISE
from codesign.hardware.units.operand_streams import OUTPUTS, STEPS, networks

Array = npt.NDArray[np.int64]
Stimulus = dict[str, npt.NDArray[np.object_]]


def stimulus(unit: Unit, mode: int, activity: str) -> Stimulus:
    """Port values [cycles, 64] of one mode: dot products of 8 x 8 outputs of each layer, with new operands every cycle.

    Output-stationary: sums stay in the unit. "noise" draws all codes uniformly, with seed 0.
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
    chosen = (stationary[:: len(stationary) // OUTPUTS][:OUTPUTS], streamed[:: len(streamed) // OUTPUTS][:OUTPUTS])
    names = (found.pair.weight, found.pair.activation)
    codes = [
        OperandCodes.of(get_format(name), rows, None, index == 0, block)
        for index, (name, rows) in enumerate(zip(names, chosen, strict=True))
    ]
    weight, activation = (stepped(operand.codes, found.products)[:STEPS] for operand in codes)
    ports = _ports(weight[..., None, :], activation[..., None], (found.weight.bits, found.activation.bits), ("w", "a"))
    scaled = [None if o.scale_codes is None else scale_steps(o, found.products)[:STEPS] for o in codes]
    for name, side, steps in zip(("ws", "as"), (found.weight, found.activation), scaled, strict=True):
        if steps is not None and side.scale is not None:
            spread = steps[..., None, :] if name == "ws" else steps[..., None]
            shape = (*steps.shape[:2], OUTPUTS, OUTPUTS)
            ports[name] = _packed(np.broadcast_to(spread, shape).reshape(*steps.shape[:2], -1), side.scale.bits)
    ports["first"] = _first(len(weight), unit.interleave)
    return ports


def _ports(weight: Array, activation: Array, bits: tuple[int, int], names: tuple[str, str]) -> Stimulus:
    shape = (*weight.shape[:2], OUTPUTS, OUTPUTS)
    return {
        name: _packed(np.broadcast_to(codes, shape).reshape(*shape[:2], -1), width)
        for name, codes, width in zip(names, (weight, activation), bits, strict=True)
    }


def _noise(unit: Unit, mode: int) -> Stimulus:
    found, rng, cycles = unit.modes[mode], np.random.default_rng(0), 3 * STEPS
    streams = OUTPUTS * OUTPUTS

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
    first = np.zeros((cycles, OUTPUTS * OUTPUTS), dtype=object)
    first[:interleave] = 1
    return first


def _packed(codes: Array, bits: int) -> npt.NDArray[np.object_]:
    """Codes [cycles, n, streams] packed into one integer each, lowest first: [cycles, streams]."""
    mask = (1 << bits) - 1
    total = np.zeros((codes.shape[0], codes.shape[2]), dtype=object)
    for index in range(codes.shape[1]):
        total += (codes[:, index] & mask).astype(object) << (index * bits)
    return total
