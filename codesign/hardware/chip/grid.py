"""`AcceleratorGrid`: many accelerators as parallel arrays, for vectorised cost models."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from codesign.errors import InputError
from codesign.formats import FormatPair
from codesign.hardware.chip.accelerator import (
    AXES,
    Accelerator,
    all_axes,
    axis_named,
    check_clock,
    check_value,
    default_dram_gib,
    default_vector_lanes,
)
from codesign.hardware.chip.axes import Axis
from codesign.hardware.units.mac import MacUnit

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MOST = 20_000_000  # accelerators of a grid
_OF_THE_UNIT = ("accumulator", "dot", "node_nm")  # with the pairs and the clock


@dataclass(frozen=True)
class AcceleratorGrid:
    """A accelerators as parallel arrays [A]; ``grid[i]`` is the i-th Accelerator."""

    units: tuple[MacUnit, ...]  # the distinct (pairs, accumulator, dot, node, clock)
    unit: Ints  # [A], index into units
    # every other axis, and the clock -> [A], numbers or indices into `names`; also attributes, such as ``grid.rows``
    values: Mapping[str, Array]
    names: Mapping[str, tuple[str, ...]]  # axis of memory types -> their names
    labels: tuple[str, ...] = ()  # names of the accelerators, if they have any

    def __getattr__(self, axis: str) -> Array:
        values: Mapping[str, Array] = self.__dict__.get("values", {})  # empty while an instance is being copied
        if axis not in values:
            raise AttributeError(f"an accelerator grid has no axis '{axis}'")
        return values[axis]

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
            positions = np.arange(len(self))[index]
            labels = tuple(self.labels[i] if self.labels else f"grid-{i}" for i in positions)
            values = {axis: array[positions] for axis, array in self.values.items()}
            return replace(self, unit=self.unit[positions], values=values, labels=labels)
        i = int(index)
        unit, position = self.units[self.unit[i]], i % len(self)
        found = {axis: self.value(axis, i) for axis in self.values}
        added = [(axis, float(value)) for axis, value in found.items() if axis not in AXES]
        return Accelerator(
            name=self.labels[i] if self.labels else f"grid-{position}",
            pairs=unit.pairs,
            accumulator=unit.accumulator,
            dot=unit.dot,
            node_nm=unit.node_nm,
            unit_model=unit.unit_model,
            others=tuple(sorted((axis, value) for axis, value in added if value != all_axes()[axis].usual)),
            **{axis: value for axis, value in found.items() if axis in AXES},
        )

    def value(self, axis: str, index: int) -> Any:
        """The value of one accelerator on an axis of `values`: an int, a float or a name."""
        value = self.values[axis][index]
        return self.names[axis][value] if axis in self.names else value.item()

    @cached_property
    def dot(self) -> Ints:
        """Lanes of each unit at rate 1, int64 [A]."""
        lanes: Ints = np.array([u.dot for u in self.units], dtype=np.int64)
        return lanes[self.unit]

    @cached_property
    def node_nm(self) -> Floats:
        """Process node of each accelerator, nm [A]."""
        nodes: Floats = np.array([u.node_nm for u in self.units], dtype=np.float64)
        return nodes[self.unit]

    @cached_property
    def reached_hz(self) -> Floats:
        """The clock that each accelerator runs at, [A]: its own, or what the central delay of its unit allows."""
        shortest = np.array([u.delay_ns.value for u in self.units])
        return np.minimum(self.clock_hz, 1e9 / shortest[self.unit])

    @property
    def has_flash(self) -> npt.NDArray[np.bool_]:
        """Whether there is flash behind the DRAM, bool [A]."""
        return np.array([bool(name) for name in self.names["flash"]])[self.values["flash"]]

    def factors(self, part: str) -> Floats | float:
        """Product of the factors by which axes of other packages scale a rate, energy or area, [A]; 1 without any."""
        found: Floats | float = 1.0
        for name, values in self.values.items():
            if name not in AXES and part in (scales := all_axes()[name].scales):
                found = found * scales[part](values)
        return found

    @classmethod
    def of(cls, accelerators: Sequence[Accelerator]) -> AcceleratorGrid:
        """The grid of listed accelerators."""
        if not accelerators:
            raise InputError("an accelerator grid needs at least one accelerator")
        units = list(dict.fromkeys(a.unit for a in accelerators))
        unit_index = {unit: i for i, unit in enumerate(units)}
        listed = {
            name: [getattr(a, name) if name in AXES else dict(a.others).get(name, axis.usual) for a in accelerators]
            for name, axis in _axes_of_values().items()
        }
        names = {name: tuple(dict.fromkeys(listed[name])) for name, axis in _axes_of_values().items() if axis.memory}
        return cls(
            units=tuple(units),
            unit=np.array([unit_index[a.unit] for a in accelerators]),
            values={name: _array(_axes_of_values()[name], values, names) for name, values in listed.items()},
            names=names,
            labels=tuple(a.name for a in accelerators),
        )

    @classmethod
    def from_ranges(
        cls,
        *,
        pair_sets: Sequence[Sequence[FormatPair]],
        unit_model: str = "",
        **ranges: Sequence[Any],
    ) -> AcceleratorGrid:
        """All combinations of the listed values; an axis that is not listed has its usual value.

        Order: format sets, accumulators and dot outermost, then the other axes in the order of `Accelerator`, the clock
        innermost. Raises InputError on an unknown axis, an empty list, a size that is not positive, an unknown name, a
        node without memory data, or a clock that one of the units cannot reach.
        """
        listed = _listed(ranges)
        if not len(pair_sets):
            raise InputError("hardware.pair_sets: no value listed")
        size = len(pair_sets) * math.prod(map(len, listed.values()))
        if size > MOST:
            raise InputError(f"hardware: {size:,} accelerators, at most {MOST:,} fit in memory; list fewer values")
        datapaths = tuple(itertools.product(pair_sets, listed.pop("accumulator"), listed.pop("dot")))
        nodes, clocks = listed["node_nm"], listed["clock_hz"]
        units = tuple(
            MacUnit(tuple(pairs), sums, lanes, node_nm, hz / 1e9, unit_model)
            for (pairs, sums, lanes), node_nm, hz in itertools.product(datapaths, nodes, clocks)
        )
        for found in units:
            check_clock(found)
        axes = _axes_of_values()
        names = {name: tuple(values) for name, values in listed.items() if name in axes and axes[name].memory}
        mesh = np.indices((len(datapaths), *map(len, listed.values()))).reshape(1 + len(listed), -1)
        at = dict(zip(listed, mesh[1:], strict=True))
        values = {name: _array(axes[name], listed[name], names)[at[name]] for name in listed if name in axes}
        values["vector_lanes"] = default_vector_lanes(values["columns"], values["vector_lanes"])
        drams = (names["dram"], values["dram"])
        values["dram_gib"] = default_dram_gib(values["dram_channels"], *drams, values["dram_gib"])
        unit = (mesh[0] * len(nodes) + at["node_nm"]) * len(clocks) + at["clock_hz"]
        return cls(units=units, unit=unit, values=values, names=names)


def _axes_of_values() -> dict[str, Axis]:
    return {name: axis for name, axis in all_axes().items() if name not in _OF_THE_UNIT}


def _listed(ranges: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """The values of every axis, in the axes' order."""
    for name in ranges:
        axis_named(name)
    found: dict[str, Sequence[Any]] = {}
    for name, axis in all_axes().items():
        if name not in ranges and axis.usual is None:
            raise InputError(f"hardware.{name}: list its values")
        found[name] = ranges[name] if name in ranges else [axis.value(axis.usual)]
        if not len(found[name]):
            raise InputError(f"hardware.{name}: no value listed")
        for value in found[name]:
            try:
                check_value(axis, value)
            except InputError as error:
                raise InputError(f"hardware: {error}") from None
    return found


def _array(axis: Axis, values: Sequence[Any], names: Mapping[str, tuple[str, ...]]) -> Array:
    """Numbers in the axis's own type, or indices into its names."""
    if axis.memory:
        return np.array([names[axis.name].index(name) for name in values], dtype=np.int64)
    return np.array(values, dtype=np.int64 if axis.kind is int else np.float64)
