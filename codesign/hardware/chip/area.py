"""Area of accelerators by component with its interval, vectorised over a grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from codesign.hardware.chip.axes import COMPONENTS
from codesign.hardware.chip.grid import AcceleratorGrid
from codesign.hardware.chip.memory import decoder_mm2, dram_interface_mm2, sram_mm2
from codesign.hardware.units.coefficients import Interval, table
from codesign.hardware.units.mac import MacUnit, vector_mac

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Areas:
    """Area in mm2 of each component: float64 [A, components], in the order of COMPONENTS."""

    value: Floats
    low: Floats
    high: Floats


def areas(grid: AcceleratorGrid) -> Areas:
    """Component areas of every accelerator of the grid.

    mac_array: unit area x rows x columns / placement density x array overhead; vector_unit: bf16 lanes; control: a
    share of these two; sram: banks; dram_interface: a share of PHY and controller of each channel, which CPU, GPU and
    others use as well; decoder: of compressed weights. Each is multiplied by the factors of axes of other packages.
    Sources: data/mac_model_*.yaml, memory.yaml, nodes.yaml, system.yaml.
    """
    ends = {end: _areas(grid, end) for end in ("value", "low", "high")}
    return Areas(**ends)


def _areas(grid: AcceleratorGrid, end: str) -> Floats:
    """One end of the interval; divisors are taken from their other end."""
    other = {"value": "value", "low": "high", "high": "low"}[end]
    system = table("system.yaml", "area")
    placement = float(getattr(system["placement"], other))
    unit_mm2 = _per_unit(grid, lambda u: u.area_um2, end) * 1e-6 / placement
    lane_mm2 = _per_unit(grid, lambda u: vector_mac(u).area_um2, end) * 1e-6 / placement
    macs_per_lane = float(getattr(system["vector_lane_macs"], end))
    overhead = float(getattr(system["array_overhead"], end))
    macs = unit_mm2 * overhead * grid.rows * grid.columns
    vector = lane_mm2 * macs_per_lane * grid.vector_lanes
    control = (macs + vector) * float(getattr(system["control"], end))
    charged = dram_interface_mm2(grid, end) * float(getattr(system["dram_interface_share"], end))
    found = (macs, vector, control, sram_mm2(grid, end), charged, decoder_mm2(grid, end))
    return np.stack([area * grid.factors(part) for part, area in zip(COMPONENTS, found, strict=True)], axis=1)


def _per_unit(grid: AcceleratorGrid, of: Callable[[MacUnit], Interval], end: str) -> Floats:
    """One end of an Interval-valued property of each accelerator's unit, float64 [A]."""
    values: Floats = np.array([getattr(of(unit), end) for unit in grid.units], dtype=np.float64)
    return values[grid.unit]
