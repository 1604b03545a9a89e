"""Operands of layers of the bundled networks as a unit reads them: codes at its ports, cycle by cycle, 64 runs a word.

The codes of the known formats are stored (data/operand_codes.npz); others are quantized here, which needs torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from codesign.hardware.arithmetic.modes import Mode
from codesign.hardware.rtl.analyse.events import Words
from codesign.hardware.rtl.emit.unit import Unit
from codesign.hardware.units.activities import NOISE, activities
from codesign.hardware.units.coefficients import DATA

OPERANDS = DATA / "operands.npz"  # written by reports/validation/operands.py, as are the codes
CODES = DATA / "operand_codes.npz"
ROWS = 8  # rows of each operand of a layer
SIDES = ("weight", "activation")
_SCALES = {"w": "ws", "a": "as"}  # port of codes -> port of their scales

Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LayerCodes:
    """Rows of one operand of a layer in one format."""

    codes: Array  # [ROWS, K]
    scales: Array | None  # [ROWS, K / block]; None without block scales


def layer_codes(name: str, side: str, activity: str) -> list[LayerCodes]:
    """The codes of a format on the layers of a bundled network; side: weight or activation."""
    found = _stored(f"{activity}/{side}/{name}")
    return found if found else quantized(name, side, activity)


@cache
def _stored(key: str) -> list[LayerCodes]:
    """As `layer_codes`; empty if the file has no such codes."""
    with np.load(CODES) as stored:
        if key not in stored:
            return []
        ends = np.cumsum(stored[key.split("/")[0]])
        codes = np.split(stored[key].astype(np.int64), ends[:-1], axis=1)
        if key + "/scales" not in stored:
            return [LayerCodes(own, None) for own in codes]
        scales = stored[key + "/scales"].astype(np.int64)
        block = ends[-1] // scales.shape[1]
        return [LayerCodes(*own) for own in zip(codes, np.split(scales, ends[:-1] // block, axis=1), strict=True)]


@cache
def quantized(name: str, side: str, activity: str) -> list[LayerCodes]:
    """As `layer_codes`, quantized from the operands as quality does."""
    from torch import from_numpy

    from codesign.formats import get_format
    from codesign.hardware.rtl.verify.codes import OperandCodes

    form = get_format(name)
    block = form.scaling.block or 0 if form.scaling is not None else 0
    ending = {"weight": "stationary", "activation": "streamed"}[side]
    found = []
    with np.load(OPERANDS) as stored:
        for key in stored.files:
            if key.startswith(activity + "/") and key.endswith("/" + ending):
                rows = from_numpy(stored[key]).float()
                chosen = rows[:: len(rows) // ROWS][:ROWS]
                codes = OperandCodes.of(form, chosen, None, side == "weight", block)
                found.append(LayerCodes(codes.codes, codes.scale_codes))
    return found


def port_words(unit: Unit, mode: int, cycles: int, words: int, names: Sequence[str] = ()) -> dict[str, Words]:
    """Bits at the ports of a unit in one mode, uint64 [cycles, bits, streams x words]; names: by default all activities.

    Output-stationary, with new operands every cycle: each stream is a run of its own and sums one output after the
    other, of 64 x words outputs spread over the layers. The words of the activities follow each other. "noise" draws
    all codes uniformly, with seed 0.
    """
    streams = 64 * words
    each = [_streams(unit, mode, name, cycles, streams) for name in names or activities()]
    widths = {"w": unit.port_bits("weight"), "a": unit.port_bits("activation"), "first": 1}
    widths |= {"ws": unit.scale_port_bits("weight"), "as": unit.scale_port_bits("activation")}
    if len(unit.modes) > 1:
        widths["mode"] = max(1, (len(unit.modes) - 1).bit_length())
        for ports in each:
            ports["mode"] = (np.full((cycles, 1, streams), mode), widths["mode"])
    none = (np.zeros((cycles, 0, streams), dtype=np.int64), 0)
    return {
        name: np.concatenate([_words(*ports.get(name, none), width) for ports in each], axis=2)
        for name, width in widths.items()
        if width
    }


def _words(codes: Array, bits: int, width: int) -> Words:
    """Codes [cycles, n, streams] of `bits` each, lowest first, as [cycles, width, streams / 64] with zeros above."""
    cycles, count, streams = codes.shape
    spread = (codes[:, :, None] >> np.arange(bits)[:, None] & 1).astype(np.uint8).reshape(cycles, -1, streams)
    padded = np.pad(spread, ((0, 0), (0, width - count * bits), (0, 0)))
    return np.packbits(padded, axis=-1, bitorder="little").view("<u8").astype(np.uint64)


def _streams(unit: Unit, mode: int, activity: str, cycles: int, streams: int) -> dict[str, tuple[Array, int]]:
    """Port -> (codes [cycles, n, streams], bits of each)."""
    found = unit.modes[mode]
    operands = {"w": (found.weight, found.pair.weight), "a": (found.activation, found.pair.activation)}
    if activity == NOISE:
        return _noise(unit, found, cycles, streams)
    layers = {port: layer_codes(name, side, activity) for (port, (_, name)), side in zip(operands.items(), SIDES)}
    parts = np.array_split(np.arange(streams), len(layers["w"]))
    chosen = []
    for layer, part in enumerate(parts):
        pair = np.arange(len(part)) * ROWS**2 // len(part)
        rows = {"w": pair // ROWS, "a": pair % ROWS}
        ports: dict[str, tuple[Array, int]] = {}
        for port, (side, _) in operands.items():
            codes = layers[port][layer]
            steps = stepped(codes.codes, found.products)
            when = np.arange(cycles) % len(steps)
            ports[port] = (steps[when][..., rows[port]], side.bits)
            if codes.scales is not None and side.scale is not None:
                ports[_SCALES[port]] = (scale_steps(codes, side.block, found)[when][..., rows[port]], side.scale.bits)
        ports["first"] = (np.broadcast_to((when < unit.interleave)[:, None, None], (cycles, 1, len(part))) * 1, 1)
        chosen.append(ports)
    return {
        name: (np.concatenate([ports[name][0] for ports in chosen], axis=2), bits)
        for name, (_, bits) in chosen[0].items()
    }


def scale_steps(operand: LayerCodes, block: int, mode: Mode) -> Array:
    """Scale codes of every step, [steps, scales of a step, rows]."""
    assert operand.scales is not None
    codes = operand.scales
    if mode.products < block:
        codes = np.repeat(codes, block // mode.products, axis=1)
    return stepped(codes, max(1, mode.products // block))


def stepped(codes: Array, lanes: int) -> Array:
    """Codes [rows, K] as steps [steps, lanes, rows], padded with zeros."""
    rows, length = codes.shape
    return np.pad(codes, ((0, 0), (0, -length % lanes))).reshape(rows, -1, lanes).transpose(1, 2, 0)


def _noise(unit: Unit, mode: Mode, cycles: int, streams: int) -> dict[str, tuple[Array, int]]:
    rng = np.random.default_rng(0)
    ports = {}
    for port, side, operand in (("w", "weight", mode.weight), ("a", "activation", mode.activation)):
        ports[port] = (rng.integers(0, 1 << operand.bits, (cycles, mode.products, streams)), operand.bits)
        if operand.scale is not None:
            shape = (cycles, unit.scales(mode, side), streams)
            ports[_SCALES[port]] = (rng.integers(0, 1 << operand.scale.bits, shape), operand.scale.bits)
    first = np.zeros((cycles, 1, streams), dtype=np.int64)
    first[: unit.interleave] = 1
    return ports | {"first": (first, 1)}
