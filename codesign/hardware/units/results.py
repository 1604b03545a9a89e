"""Results of layers of the bundled networks as a requantizer reads them: FP32 numbers, cycle by cycle, 64 runs a word.

They are the operands that the next layers read (data/operands.npz, float16); the bits below are drawn at random.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from codesign.formats.format import Format
from codesign.formats.scaling import divisor_of
from codesign.hardware.rtl.emit.requantize import BuiltRequantizer, Requantizer
from codesign.hardware.units.activities import NETWORKS
from codesign.hardware.units.operand_streams import OPERANDS, bit_words, masks
from codesign.hardware.units.switching import Stimulus

STREAMS = 32  # of each network
_SETTLED = 4  # cycles after the pipeline is full
# Cycles that are counted, of all lanes together: the lanes of a block are as many streams more, so that two cycles of
# int8_g32 tell its energy as six do, within 0.1 %.
_COUNTED, _FEWEST = 8, 2
_TIMED_EVERY = 2
_RANDOM = 13  # bits of an FP32 fraction that float16 lacks

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int64]


def read_results(built: BuiltRequantizer) -> Stimulus:
    """What a requantizer reads, on each of `NETWORKS`: every stream passes along a row of a layer again and again.

    A scale that is given is that of the layer's rows, a range that of the row.
    """
    warm = max(built.latency.values()) + built.lead + _SETTLED
    cycles = warm + max(_FEWEST, _COUNTED // built.unit.lanes)
    each = [_ports(built.unit, name, cycles) for name in NETWORKS]
    bits = {"x": 32, "scale": 32, "tensor": 32, "range": 31, "first": 1}
    ports = {}
    for port in each[0]:
        codes = np.concatenate([found[port] for found in each], axis=2)
        ports[port] = bit_words(codes, bits[port], codes.shape[1] * bits[port])
    counted = range(warm, cycles)
    return Stimulus(ports, counted, counted[::_TIMED_EVERY], masks(STREAMS, len(NETWORKS)))


def _ports(unit: Requantizer, network: str, cycles: int) -> dict[str, Codes]:
    """Port -> codes [cycles, n, STREAMS]."""
    layers, lanes = _layers(network), unit.lanes
    x, ranges, wholes, first = [], [], [], []
    for stream in range(STREAMS):
        layer = layers[stream % len(layers)]
        row = layer[stream // len(layers) % len(layer)]
        start = len(row) // lanes * stream // STREAMS * lanes
        places = (start + np.arange(cycles * lanes).reshape(cycles, lanes)) % len(row)
        x.append(row[places])
        first.append(places[:, :1] < lanes)
        first[-1][0] = True  # as in `port_words`
        ranges.append(np.abs(row).max())
        wholes.append(np.abs(layer).max())
    ports = {"x": _bits(np.stack(x, axis=2))}
    if unit.kind == "given":
        ports["scale"] = _steady(np.array(wholes, np.float32) / np.float32(_divisor(unit.form)), cycles)
    elif unit.kind == "range":
        ports["range"] = _steady(np.array(ranges), cycles)
        ports["first"] = np.stack(first, axis=2).astype(np.int64)
    elif (scaling := unit.form.scaling) is not None and scaling.tensor_scale is not None:
        divisor = np.float32(_divisor(unit.form) * scaling.scale.max_value)
        ports["tensor"] = _steady(np.array(wholes, np.float32) / divisor, cycles)
    return ports


@cache
def _layers(network: str) -> list[Floats]:
    """The rows of each layer, FP32 [rows, K]."""
    rng = np.random.default_rng(0)
    with np.load(OPERANDS) as stored:
        chosen = [key for key in stored.files if key.startswith(f"{network}/") and key.endswith("/streamed")]
        rows = [stored[key].astype(np.float32) for key in chosen]
    drawn = [(row.view(np.int32) | rng.integers(0, 1 << _RANDOM, row.shape, np.int32)).view(np.float32) for row in rows]
    return [np.where(row == 0, row, more) for row, more in zip(rows, drawn, strict=True)]


def _divisor(form: Format) -> float:
    assert form.scaling is not None
    return divisor_of(form.element, form.scaling.rule)


def _steady(numbers: Floats, cycles: int) -> Codes:
    return np.broadcast_to(_bits(numbers), (cycles, 1, len(numbers)))


def _bits(numbers: Floats) -> Codes:
    return np.ascontiguousarray(numbers, np.float32).view(np.uint32).astype(np.int64)
