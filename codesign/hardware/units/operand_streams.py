"""Operands of layers of the bundled networks as a unit reads them: codes at its ports, cycle by cycle, 64 runs a word.

The codes of the known formats are stored (data/operand_codes.npz); others are quantized here, which needs torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt

from codesign.formats import FloatElement, get_format
from codesign.hardware.arithmetic.modes import Mode, Side
from codesign.hardware.rtl.analyse.events import Words
from codesign.hardware.rtl.emit.unit import Unit
from codesign.hardware.units.activities import NOISE
from codesign.hardware.units.coefficients import DATA

OPERANDS = DATA / "operands.npz"  # written by reports/validation/operands.py, as are the codes
CODES = DATA / "operand_codes.npz"
ROWS = 8  # rows of each operand of a layer
_MANTISSA = 10  # bits of the mantissas in OPERANDS (float16)
SIDES = ("weight", "activation")
_SCALES = {"w": "ws", "a": "as"}  # port of codes -> port of their scales

Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LayerCodes:
    """Rows of one operand of a layer in one format."""

    codes: Array  # [ROWS, K]
    scales: Array | None  # [ROWS, K / block]; None without block scales


@cache
def layer_codes(name: str, side: str, activity: str) -> list[LayerCodes]:
    """The codes of a format on the layers of a bundled network; side: weight or activation.

    A format with more than the 10 bits of mantissa of the stored operands has random bits for those below.
    """
    found = _stored(name, side, activity) or quantized(name, side, activity)
    element = get_format(name).element
    missing = element.mantissa_bits - _MANTISSA if isinstance(element, FloatElement) else 0
    if missing <= 0:
        return found
    rng = np.random.default_rng(0)
    return [replace(one, codes=one.codes | rng.integers(0, 1 << missing, one.codes.shape)) for one in found]


def _stored(name: str, side: str, activity: str) -> list[LayerCodes]:
    """As `layer_codes`; empty if the file has no such codes. Layers are padded to whole blocks."""
    stored, key = _codes(), f"{activity}/{side}/{name}"
    if key not in stored:
        return []
    block = Side.of(name).block
    ends = np.cumsum(-(-stored[activity] // max(1, block)))[:-1]
    codes = np.split(stored[key].astype(np.int64), ends * max(1, block), axis=1)
    if not block:
        return [LayerCodes(own, None) for own in codes]
    scales = np.split(stored[key + "/scales"].astype(np.int64), ends, axis=1)
    return [LayerCodes(*own) for own in zip(codes, scales, strict=True)]


@cache
def _codes() -> dict[str, Array]:
    with np.load(CODES) as stored:
        return dict(stored)


def quantized(name: str, side: str, activity: str) -> list[LayerCodes]:
    """As `layer_codes`, quantized from the operands as quality does."""
    from torch import from_numpy

    from codesign.hardware.rtl.verify.codes import OperandCodes

    form, block = get_format(name), Side.of(name).block
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


def port_words(unit: Unit, mode: int, cycles: int, streams: int, names: Sequence[str]) -> dict[str, Words]:
    """Bits at the ports of a unit in one mode, uint64 [cycles, bits, words], of `streams` runs on each activity.

    Output-stationary, with new operands every cycle: each stream is a run of its own and sums one output after the
    other; they are spread over layers, outputs and steps. A sum begins in all of them at first, as what flip-flops hold
    before depends on the library, and a float accumulator full of ones would stay at the largest number. The streams of
    the activities follow each other, see `masks`.
    "noise" draws all codes uniformly, with seed 0.
    """
    each = [_streams(unit, mode, name, cycles, streams) for name in names]
    widths = {"w": unit.port_bits("weight"), "a": unit.port_bits("activation"), "first": 1}
    widths |= {"ws": unit.scale_port_bits("weight"), "as": unit.scale_port_bits("activation")}
    if len(unit.modes) > 1:
        widths["mode"] = max(1, (len(unit.modes) - 1).bit_length())
        for ports in each:
            ports["mode"] = (np.full((cycles, 1, streams), mode), widths["mode"])
    none = (np.zeros((cycles, 0, streams), dtype=np.int64), 0)
    found = {}
    for name, width in widths.items():
        if width:
            codes = np.concatenate([ports.get(name, none)[0] for ports in each], axis=2)
            found[name] = bit_words(codes, each[0].get(name, none)[1], width)
    return found


def masks(streams: int, groups: int) -> Words:
    """The streams of each activity among those of `port_words`, uint64 [groups, words]."""
    own = np.arange(-(-groups * streams // 64) * 64) // streams == np.arange(groups)[:, None]
    return _packed(own)


def _packed(bits: npt.NDArray[np.uint8] | npt.NDArray[np.bool_]) -> Words:
    """[..., streams], a multiple of 64, as [..., words]."""
    return np.asarray(np.packbits(bits, axis=-1, bitorder="little").view("<u8"), dtype=np.uint64)


def bit_words(codes: Array, bits: int, width: int) -> Words:
    """Codes [cycles, n, streams] of `bits` each, lowest first, as [cycles, width, words] with zeros above."""
    cycles, count, streams = codes.shape
    spread = (codes[:, :, None] >> np.arange(bits)[:, None] & 1).astype(np.uint8).reshape(cycles, -1, streams)
    return _packed(np.pad(spread, ((0, 0), (0, width - count * bits), (0, -streams % 64))))


def _streams(unit: Unit, mode: int, activity: str, cycles: int, streams: int) -> dict[str, tuple[Array, int]]:
    """Port -> (codes [cycles, n, streams], bits of each)."""
    found = unit.modes[mode]
    operands = {"w": (found.weight, found.pair.weight), "a": (found.activation, found.pair.activation)}
    if activity == NOISE:
        return _noise(unit, found, cycles, streams)
    layers = {
        port: layer_codes(name, side, activity) for (port, (_, name)), side in zip(operands.items(), SIDES, strict=True)
    }
    parts = np.array_split(np.arange(streams), len(layers["w"]))
    chosen = []
    for layer, part in enumerate(parts):
        stepwise: dict[str, tuple[Array, int]] = {}  # port -> (codes [steps, n, ROWS], bits of each)
        for port, (side, _) in operands.items():
            codes = layers[port][layer]
            stepwise[port] = (stepped(codes.codes, found.products), side.bits)
            if codes.scales is not None and side.scale is not None:
                stepwise[_SCALES[port]] = (scale_steps(codes, side.block, found), side.scale.bits)
        length, own = min(len(steps) for steps, _ in stepwise.values()), np.arange(len(part))
        when = (np.arange(cycles)[:, None] + own * length // len(part)) % length
        pair = own * ROWS**2 // len(part)
        rows = {"w": pair // ROWS, "a": pair % ROWS}
        ports = {
            port: (steps[when, :, rows[port[0]]].transpose(0, 2, 1), bits) for port, (steps, bits) in stepwise.items()
        }
        first = when < unit.interleave
        first[: unit.interleave] = True
        chosen.append(ports | {"first": (first[:, None].astype(np.int64), 1)})
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
        if operand.scale is not None:  # which is never negative
            drawn = rng.integers(0, 1 << operand.scale.bits, (cycles, unit.scales(mode, side), streams))
            ports[_SCALES[port]] = (drawn & (1 << operand.scale.bits - operand.scale.signed) - 1, operand.scale.bits)
    first = np.zeros((cycles, 1, streams), dtype=np.int64)
    first[: unit.interleave] = 1
    return ports | {"first": (first, 1)}
