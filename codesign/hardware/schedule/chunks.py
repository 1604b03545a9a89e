"""Prices a large grid chunk by chunk, so that memory is that of the grid's arrays and of one chunk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from codesign.hardware.chip.area import Areas, areas
from codesign.hardware.chip.grid import AcceleratorGrid
from codesign.hardware.schedule.totals import AssignmentTotals

CHUNK = 2**15  # accelerators priced at a time


@dataclass(frozen=True)
class Chunk:
    """A accelerators of a grid, priced."""

    start: int  # index of the first one in the grid
    chips: AcceleratorGrid
    areas: Areas
    costs: Mapping[str, Mapping[str, npt.NDArray[np.float64]]]  # network -> field -> [A, assignments]


def chunk_of(grid: AcceleratorGrid, start: int, stop: int) -> AcceleratorGrid:
    """grid[start:stop] with only the units that it uses, as time grows with their number."""
    chunk = grid[start:stop]
    used, unit = np.unique(chunk.unit, return_inverse=True)
    return replace(chunk, units=tuple(grid.units[u] for u in used), unit=unit)


def priced(grid: AcceleratorGrid, totals: Mapping[str, AssignmentTotals], size: int = CHUNK) -> Iterator[Chunk]:
    """Area and cost of every accelerator of `grid`, `size` at a time; totals: by network."""
    for start in range(0, len(grid), size):
        chips = chunk_of(grid, start, start + size)
        yield Chunk(start, chips, areas(chips), {name: network.on(chips) for name, network in totals.items()})
