"""`Accelerator`: rows x columns of dot-product units with SRAM and DRAM; `AcceleratorGrid`: many of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from codesign.errors import InputError, nearest
from codesign.formats import FormatPair
from codesign.hardware.units.coefficients import at_node, table
from codesign.hardware.units.mac import MacUnit

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_SIZES = ("rows", "columns", "sram_bytes", "dram_channels", "clock_hz")
_ARRAYS = ("unit", "dram", "vector_lanes", "dram_gib", "flash", "codec", *_SIZES)
FLASHES = ("", "ufs3.1", "ufs4.0")  # behind the DRAM; the first of each is none
CODECS = ("", "huffman", "bitmap")  # of weights in DRAM and flash


def dram_types() -> tuple[str, ...]:
    """Names of the DRAM types that the model knows."""
    return tuple(table("memory.yaml", "dram_gb_per_s"))


def default_vector_lanes(columns: Ints, lanes: Ints) -> Ints:
    """`lanes`, in proportion to the columns where they are 0; raises InputError where they are negative."""
    if (lanes < 0).any():
        raise InputError(f"vector_lanes must be positive, not {lanes[lanes < 0][0]}")
    each = table("system.yaml", "area")["vector_lanes_per_column"].value
    return np.where(lanes > 0, lanes, np.maximum(np.round(columns * each), 1)).astype(np.int64)


def default_dram_gib(channels: Ints, drams: Sequence[str], dram: Ints, gib: Floats) -> Floats:
    """`gib`, in proportion to the channels where it is 0; raises InputError where it is negative."""
    if (gib < 0).any():
        raise InputError(f"dram_gib must be positive, not {gib[gib < 0][0]:g}")
    usable = table("memory.yaml", "dram")["usable"].value
    each = np.array([table("memory.yaml", "dram_gib_per_channel")[name].value for name in drams])[dram]
    return np.where(gib > 0, gib, channels * each * usable)


def check_name(key: str, name: str, known: Sequence[str]) -> None:
    """Raises InputError on a name that is not known, with the nearest one."""
    if name not in known:
        raise InputError(f"unknown {key} '{name}'{nearest(name, [n for n in known if n])}")


def check_node(node_nm: float) -> None:
    """Raises InputError on a node that memories have no figures for."""
    try:
        at_node("memory.yaml", "bitcell_um2", node_nm)
    except ValueError as error:
        raise InputError(f"node_nm: {error}") from None


def check_clock(unit: MacUnit) -> None:
    """Raises InputError where a step of the unit surely takes longer than its clock, however it is cut."""
    if not unit.holds_clock:
        names = ", ".join(map(str, unit.pairs))
        delay = unit.delay_ns
        raise InputError(
            f"clock: {unit.clock_ghz * 1e3:g} MHz is too fast for a unit of {names} (accumulator {unit.accumulator}, "
            f"dot {unit.dot}) at {unit.node_nm:g} nm, whose longest step takes {delay.value:.2f} ns "
            f"({delay.low:.2f} to {delay.high:.2f}): at most {1e3 / delay.low:.0f} MHz"
        )


@dataclass(frozen=True)
class Accelerator:
    """One parametric chip.

    pairs: format pairs that every unit runs; accumulator, dot, node_nm: as in `MacUnit`;
    rows x columns: units in the array; sram_bytes: on-chip memory; dram, dram_channels: type and
    count of channels; clock_hz: of the array, which its units are cut for, and the SRAM; unit_model: as in
    `MacUnit`; vector_lanes: of the bf16 vector unit, in proportion to the columns where it is 0; dram_gib: DRAM
    that networks may take, in proportion to the channels where it is 0; flash: one of FLASHES, from which weights
    stream that find no place there; codec: one of CODECS, which weights in DRAM and flash are compressed with.
    Raises InputError on an unknown name, a size that is not positive, a node without memories,
    and a clock that the unit cannot hold.
    """

    name: str
    pairs: tuple[FormatPair, ...]
    accumulator: str
    dot: int
    rows: int
    columns: int
    sram_bytes: int
    dram: str
    dram_channels: int
    clock_hz: float
    node_nm: float
    unit_model: str = ""
    vector_lanes: int = 0
    dram_gib: float = 0.0
    flash: str = ""
    codec: str = ""

    def __post_init__(self) -> None:
        for key in _SIZES:
            if not getattr(self, key) > 0:
                raise InputError(f"accelerator {self.name}: {key} must be positive, not {getattr(self, key)}")
        unit = self.unit
        try:
            for key, known in (("dram", dram_types()), ("flash", FLASHES), ("codec", CODECS)):
                check_name(key, getattr(self, key), known)
            check_node(self.node_nm)
            check_clock(unit)
            lanes = default_vector_lanes(np.array([self.columns]), np.array([self.vector_lanes]))
            channels, first = np.array([self.dram_channels]), np.array([0])
            gib = default_dram_gib(channels, (self.dram,), first, np.array([self.dram_gib], dtype=np.float64))
        except InputError as error:
            raise InputError(f"accelerator {self.name}: {error}") from None
        object.__setattr__(self, "pairs", unit.pairs)
        object.__setattr__(self, "vector_lanes", int(lanes[0]))
        object.__setattr__(self, "dram_gib", float(gib[0]))

    @property
    def unit(self) -> MacUnit:
        """The dot-product unit of which the array has rows x columns."""
        return MacUnit(
            tuple(self.pairs), self.accumulator, self.dot, self.node_nm, self.clock_hz / 1e9, self.unit_model
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON form, the fields of the contract; inverse of `from_dict`."""
        fields = {key: getattr(self, key) for key in self.__dataclass_fields__ if key != "unit_model"}
        own = {"unit_model": self.unit_model} if self.unit_model else {}
        return fields | {"pairs": [str(pair) for pair in self.pairs]} | own

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Accelerator:
        return cls(**(data | {"pairs": tuple(FormatPair.parse(pair) for pair in data["pairs"])}))


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
