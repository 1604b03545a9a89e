"""`AcceleratorGrid`: many accelerators as parallel arrays, so that all of them are priced at once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from codesign.errors import InputError
from codesign.formats import FormatPair
from codesign.hardware.chip.accelerator import (
    CODECS,
    FLASHES,
    Accelerator,
    check_clock,
    check_name,
    check_node,
    default_dram_gib,
    default_vector_lanes,
    dram_types,
)
from codesign.hardware.units.mac import MacUnit

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_ARRAYS = (
    "unit",
    "dram",
    "vector_lanes",
    "dram_gib",
    "flash",
    "codec",
    "rows",
    "columns",
    "sram_bytes",
    "dram_channels",
    "clock_hz",
)


def _check_ranges(
    positive: Mapping[str, Sequence[float]], names: Mapping[str, Sequence[str]], others: Mapping[str, Sequence[Any]]
) -> None:
    """Raises InputError on an empty list, on what is not positive and on an unknown name."""
    for key, values in {**positive, **names, **others}.items():
        if not len(values):
            raise InputError(f"hardware.{key}: no value listed")
    for key, sizes in positive.items():
        bad = [v for v in sizes if not v > 0]
        if bad:
            raise InputError(f"hardware.{key}: must be positive, not {bad[0]}")
    known = {"dram": dram_types(), "flash": FLASHES, "codec": CODECS}
    for key, listed in names.items():
        for name in listed:
            check_name(f"hardware.{key}", name, known[key])


@dataclass(frozen=True)
class AcceleratorGrid:
    """A accelerators as parallel arrays [A]; ``grid[i]`` is the i-th Accelerator.

    units: the distinct (pairs, accumulator, dot, node, clock) of the grid; unit: int index into it per
    accelerator; drams: the distinct DRAM types; dram: int index into it per accelerator; flash, codec: indices into
    FLASHES and CODECS.
    """

    units: tuple[MacUnit, ...]
    unit: Ints
    rows: Ints
    columns: Ints
    sram_bytes: Ints
    drams: tuple[str, ...]
    dram: Ints
    dram_channels: Ints
    clock_hz: Floats
    vector_lanes: Ints
    dram_gib: Floats
    flash: Ints
    codec: Ints
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.unit)

    def __iter__(self) -> Iterator[Accelerator]:
        return (self[i] for i in range(len(self)))

    @overload
    def __getitem__(self, index: int | np.integer[Any]) -> Accelerator: ...
    @overload
    def __getitem__(self, index: np.ndarray | slice) -> AcceleratorGrid: ...
    def __getitem__(self, index: Any) -> Accelerator | AcceleratorGrid:
        """One Accelerator for an integer; a smaller grid for an index array, mask or slice."""
        if isinstance(index, (slice, np.ndarray)):
            return self._take(index)
        i = int(index)
        unit = self.units[self.unit[i]]
        position = i % len(self)
        return Accelerator(
            name=self.names[i] if self.names else f"grid-{position}",
            pairs=unit.pairs,
            accumulator=unit.accumulator,
            dot=unit.dot,
            rows=int(self.rows[i]),
            columns=int(self.columns[i]),
            sram_bytes=int(self.sram_bytes[i]),
            dram=self.drams[self.dram[i]],
            dram_channels=int(self.dram_channels[i]),
            clock_hz=float(self.clock_hz[i]),
            node_nm=unit.node_nm,
            unit_model=unit.unit_model,
            vector_lanes=int(self.vector_lanes[i]),
            dram_gib=float(self.dram_gib[i]),
            flash=FLASHES[self.flash[i]],
            codec=CODECS[self.codec[i]],
        )

    def _take(self, index: np.ndarray | slice) -> AcceleratorGrid:
        positions = np.arange(len(self))[index]
        names = tuple(self.names[i] if self.names else f"grid-{i}" for i in positions)
        arrays = {key: getattr(self, key)[positions] for key in _ARRAYS}
        return AcceleratorGrid(units=self.units, drams=self.drams, names=names, **arrays)

    @cached_property
    def dot(self) -> Ints:
        """Lanes of each unit at rate 1, int64 [A]."""
        lanes: Ints = np.array([u.dot for u in self.units], dtype=np.int64)
        return lanes[self.unit]

    @cached_property
    def node_nm(self) -> Floats:
        nodes: Floats = np.array([u.node_nm for u in self.units], dtype=np.float64)
        return nodes[self.unit]

    @classmethod
    def of(cls, accelerators: Sequence[Accelerator]) -> AcceleratorGrid:
        """The grid of listed accelerators."""
        if not accelerators:
            raise InputError("an accelerator grid needs at least one accelerator")
        units = list(dict.fromkeys(a.unit for a in accelerators))
        drams = list(dict.fromkeys(a.dram for a in accelerators))
        unit_index = {unit: i for i, unit in enumerate(units)}
        return cls(
            units=tuple(units),
            unit=np.array([unit_index[a.unit] for a in accelerators]),
            rows=np.array([a.rows for a in accelerators], dtype=np.int64),
            columns=np.array([a.columns for a in accelerators], dtype=np.int64),
            sram_bytes=np.array([a.sram_bytes for a in accelerators], dtype=np.int64),
            drams=tuple(drams),
            dram=np.array([drams.index(a.dram) for a in accelerators]),
            dram_channels=np.array([a.dram_channels for a in accelerators], dtype=np.int64),
            clock_hz=np.array([a.clock_hz for a in accelerators], dtype=np.float64),
            vector_lanes=np.array([a.vector_lanes for a in accelerators], dtype=np.int64),
            dram_gib=np.array([a.dram_gib for a in accelerators], dtype=np.float64),
            flash=np.array([FLASHES.index(a.flash) for a in accelerators], dtype=np.int64),
            codec=np.array([CODECS.index(a.codec) for a in accelerators], dtype=np.int64),
            names=tuple(a.name for a in accelerators),
        )

    @classmethod
    def from_ranges(
        cls,
        *,
        pair_sets: Sequence[Sequence[FormatPair]],
        rows: Sequence[int],
        columns: Sequence[int],
        sram_bytes: Sequence[int],
        dot: Sequence[int] = (16,),
        accumulator: Sequence[str] = ("auto",),
        dram: Sequence[str] = ("lpddr5x_8533",),
        dram_channels: Sequence[int] = (1,),
        clock_hz: Sequence[float] = (1e9,),
        node_nm: float = 7,
        unit_model: str = "",
        vector_lanes: Sequence[int] = (0,),
        dram_gib: Sequence[float] = (0,),
        flash: Sequence[str] = ("",),
        codec: Sequence[str] = ("",),
    ) -> AcceleratorGrid:
        """Every combination of the listed values: format sets, accumulators and dot outermost, then rows, columns,
        sram_bytes, dram, dram_channels, vector_lanes, dram_gib, flash, codec (as in `Accelerator`), clock_hz.

        Raises InputError on an empty list, a size that is not positive, an unknown name, a node without
        memories, and a clock that one of the units cannot hold.
        """
        positive = {"rows": rows, "columns": columns, "sram_bytes": sram_bytes, "dram_channels": dram_channels}
        others = {"pair_sets": pair_sets, "dot": dot, "vector_lanes": vector_lanes, "dram_gib": dram_gib}
        names = {"dram": dram, "flash": flash, "codec": codec}
        _check_ranges(positive | {"clock_hz": clock_hz}, names, others)
        datapaths = tuple(itertools.product(pair_sets, accumulator, dot))
        axes: dict[str, Sequence[Any]] = {"datapath": range(len(datapaths)), "rows": rows, "columns": columns}
        axes |= {"sram_bytes": sram_bytes, "dram": range(len(dram)), "dram_channels": dram_channels}
        axes |= {"vector_lanes": vector_lanes, "dram_gib": dram_gib, "flash": [FLASHES.index(name) for name in flash]}
        axes |= {"codec": [CODECS.index(name) for name in codec], "clock": range(len(clock_hz))}
        mesh = np.meshgrid(*(np.asarray(list(axis)) for axis in axes.values()), indexing="ij")
        at = {name: part.reshape(-1) for name, part in zip(axes, mesh, strict=True)}
        clock, datapath = at.pop("clock"), at.pop("datapath")
        units = tuple(
            MacUnit(tuple(pairs), sums, lanes, node_nm, hz / 1e9, unit_model)
            for (pairs, sums, lanes), hz in itertools.product(datapaths, clock_hz)
        )
        for found in units:
            check_node(found.node_nm)
            check_clock(found)
        at["vector_lanes"] = default_vector_lanes(at["columns"], at["vector_lanes"])
        at["dram_gib"] = default_dram_gib(at["dram_channels"], dram, at["dram"], at["dram_gib"].astype(np.float64))
        return cls(
            units=units,
            unit=datapath * len(clock_hz) + clock,
            drams=tuple(dram),
            clock_hz=np.asarray(clock_hz, dtype=np.float64)[clock],
            **at,
        )
