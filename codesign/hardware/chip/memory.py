"""SRAM, DRAM, flash and weight codecs of many accelerators: bandwidth, capacity, energy and area.

Coefficients and their sources: data/memory.yaml, data/memories.yaml, data/compression.yaml.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from codesign.errors import InputError, nearest
from codesign.formats import FormatPair
from codesign.hardware.arithmetic.operands import operands
from codesign.hardware.chip.grid import AcceleratorGrid
from codesign.hardware.chip.memory_types import memory_type
from codesign.hardware.units.coefficients import Coefficient, at_node, table

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def sram_bytes_per_cycle(grid: AcceleratorGrid) -> Floats:
    """SRAM bandwidth that the array needs, [A]: per cycle, one operand per lane for every row and column in the widest
    formats of the unit, and one partial sum per column."""
    widest = [[operands(pair) for pair in unit.pairs] for unit in grid.units]
    weight = np.array([max(w.bits for w, _ in shapes) / 8 for shapes in widest])[grid.unit]
    activation = np.array([max(a.bits for _, a in shapes) / 8 for shapes in widest])[grid.unit]
    partial = table("system.yaml", "accumulator")["partial_sum_bytes"].value
    return np.asarray(grid.dot * (grid.columns * weight + grid.rows * activation) + grid.columns * partial)


def sram_banks(grid: AcceleratorGrid) -> Floats:
    """Number of single-port banks, [A]: enough for `sram_bytes_per_cycle` and for the largest size of a bank."""
    sram = table("memory.yaml", "sram")
    wide = np.ceil(sram_bytes_per_cycle(grid) / sram["word_bytes"].value)
    deep = np.ceil(grid.sram_bytes / 1024 / sram["largest_bank_kib"].value)
    most = np.maximum(np.floor(grid.sram_bytes / 1024 / sram["smallest_bank_kib"].value), 1)
    return np.maximum(np.minimum(wide, most), deep)


def sram_mm2(grid: AcceleratorGrid, end: str = "value") -> Floats:
    """SRAM area, [A]: area of the bit cells over the array efficiency, which is lower in smaller banks."""
    sram, other = table("memory.yaml", "sram"), {"value": "value", "low": "high", "high": "low"}[end]
    bank_kib = grid.sram_bytes / 1024 / sram_banks(grid)
    periphery = _end(sram["bank_periphery"], end) / np.sqrt(bank_kib)
    cells = [getattr(at_node("memory.yaml", "bitcell_um2", unit.node_nm), end) for unit in grid.units]
    efficiency = 1 / (1 / _end(sram["array_efficiency"], other) + periphery)
    return np.asarray(grid.sram_bytes * 8e-6 * np.array(cells)[grid.unit] / efficiency)


def sram_j_per_byte(grid: AcceleratorGrid) -> Floats:
    """SRAM energy, [A]: access to one bank, and wires over the mean distance to it."""
    sram, banks = table("memory.yaml", "sram"), sram_banks(grid)
    read = sram["read_floor_pj_per_byte"].value + sram["read_slope_pj_per_byte"].value * np.sqrt(
        grid.sram_bytes / 1024 / banks
    )
    scale = np.array([at_node("nodes.yaml", "logic_energy", unit.node_nm).value for unit in grid.units])[grid.unit]
    area = sram_mm2(grid)
    distance = (np.sqrt(area) - np.sqrt(area / banks)) / 2
    return np.asarray((read * scale + sram["wire_pj_per_byte_mm"].value * distance) * 1e-12)


def _of(grid: AcceleratorGrid, kind: str, figure: Callable[[Any], float], without: float = 0.0) -> Floats:
    """A property of each accelerator's memory type of the given kind, [A]; `without` if it has none."""
    names = grid.names[kind]
    return np.array([figure(memory_type(kind, name)) if name else without for name in names])[grid.values[kind]]


def dram_bytes_per_s(grid: AcceleratorGrid) -> Floats:
    """Sustained DRAM bandwidth of all channels, [A]."""
    efficiency = table("memory.yaml", "dram")["efficiency"].value
    return np.asarray(_of(grid, "dram", lambda d: d.gb_per_s.value) * grid.dram_channels * 1e9 * efficiency)


def dram_j_per_byte(grid: AcceleratorGrid) -> Floats:
    """DRAM energy, [A]."""
    return _of(grid, "dram", lambda d: d.pj_per_bit.value) * 8e-12


def dram_interface_mm2(grid: AcceleratorGrid, end: str = "value") -> Floats:
    """Area of PHY and controller of all channels, [A]."""
    return np.asarray(_of(grid, "dram", lambda d: _end(d.interface_mm2, end)) * grid.dram_channels)


def dram_price_class(grid: AcceleratorGrid) -> list[str]:
    """Price class in words, [A]; not part of any objective."""
    return [memory_type("dram", grid.names["dram"][kind]).price_class for kind in grid.dram]


def flash_bytes_per_s(grid: AcceleratorGrid) -> Floats:
    """Sustained bandwidth of sequential block reads, [A]; infinite without flash."""
    flash = table("memory.yaml", "flash")
    block, command = flash["block_kib"].value * 1024, flash["command_us"].value * 1e-6
    return _of(grid, "flash", lambda f: block / (block / (f.gb_per_s.value * 1e9) + command), np.inf)


def flash_j_per_byte(grid: AcceleratorGrid) -> Floats:
    """Flash energy, [A]."""
    return _of(grid, "flash", lambda f: f.pj_per_bit.value * 8e-12)


def compression_ratios(grid: AcceleratorGrid, pairs: Sequence[FormatPair]) -> Floats:
    """Compression ratio (bytes in SRAM / bytes in DRAM) of weights, [codecs, C]: at least 1; 1 without a codec.

    Raises InputError on a format whose ratio was not measured with a codec of the grid.
    """
    codecs = grid.names["codec"]
    ratios = np.ones((len(codecs), len(pairs)))
    for codec in np.unique(grid.codec):
        ratios[codec] = [_ratio(codecs[codec], pair.datapath.weight) for pair in pairs]
    return ratios


def _ratio(codec: str, name: str) -> float:
    if not codec:
        return 1.0
    measured = memory_type("codec", codec).ratio
    if name not in measured:
        raise InputError(f"codec {codec} was not measured with weights in {name}{nearest(name, measured)}")
    return float(max(measured[name].value, 1.0))


def decoder_mm2(grid: AcceleratorGrid, end: str = "value") -> Floats:
    """Area of the decoders that keep up with the DRAM, [A]: two codes per byte, one code per decoder and cycle."""
    each = _of(grid, "codec", lambda c: _end(c.decoder_um2, end))
    scale = [getattr(at_node("nodes.yaml", "logic_area", unit.node_nm), end) for unit in grid.units]
    decoders = np.ceil(2 * dram_bytes_per_s(grid) / grid.reached_hz)
    return np.asarray(each * np.array(scale)[grid.unit] * decoders * 1e-6)


def _end(coefficient: Coefficient, end: str) -> float:
    return float(getattr(coefficient, end))
