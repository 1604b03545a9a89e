"""One accelerator with some of its axes varied: every combination of the values that ``AXIS=VALUE,...`` lists."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codesign.errors import InputError
from codesign.hardware.chip.accelerator import Accelerator, all_axes, check_value
from codesign.hardware.chip.axes import Axis
from codesign.hardware.chip.files import memory_name, written_value
from codesign.hardware.chip.grid import AcceleratorGrid
from codesign.yamlio import Written, parse_options, with_fields

MOST = 10_000  # combinations, each of which is a row that somebody reads
_OPTION = Path("--set")


def _listed(axis: Axis) -> tuple[Any, list[Any]]:
    """The type of an axis's values, and its default."""
    return list[written_value(axis)], []  # type: ignore[misc]  # for pydantic alone


_Listed = with_fields(Written, "Listed", {axis.key: _listed(axis) for axis in all_axes().values()})


@dataclass(frozen=True)
class Varied:
    """Accelerators that differ from one in the axes that were listed."""

    grid: AcceleratorGrid
    values: tuple[Mapping[str, Any], ...]  # of each accelerator, by the axes' keys in files, as written there

    @classmethod
    def of(cls, base: Accelerator, written: Sequence[str]) -> Varied:
        """All combinations of the values in `written`, each ``KEY=VALUE,...`` with a key of accelerator files.

        Everything else is as in `base`, its vector lanes and its DRAM for networks included. Raises InputError on an
        unknown key, with the nearest, a value that is no value of its axis, or a unit that misses its clock.
        """
        ranges = _ranges(written)
        size = math.prod(len(values) for values in ranges.values())
        if size > MOST:
            raise InputError(f"--set: {size:,} combinations, at most {MOST:,}; codesign search takes a space of more")
        own = dict(base.others)
        fixed = {
            name: [getattr(base, name, own.get(name, axis.usual))]
            for name, axis in all_axes().items()
            if name not in ranges
        }
        try:
            grid = AcceleratorGrid.from_ranges(pair_sets=[base.pairs], unit_model=base.unit_model, **fixed, **ranges)
        except InputError as error:
            raise InputError(f"--set: {error}") from None
        return cls(grid, tuple(_values(grid, i, ranges) for i in range(len(grid))))


def _ranges(written: Sequence[str]) -> dict[str, list[Any]]:
    """Axis -> its values in units of the field; raises InputError on an unknown key or a wrong value."""
    form = "AXIS=VALUE,..., such as sram_kib=2048,4096"
    listed = parse_options(str(_OPTION), written, _Listed, form, listed=True, strict=False)
    found: dict[str, list[Any]] = {}
    for name, axis in all_axes().items():
        for value in getattr(listed, axis.key):
            found.setdefault(name, []).append(_checked(axis, value, found.get(name, [])))
    return found


def _checked(axis: Axis, written: Any, before: Sequence[Any]) -> Any:
    try:
        value = axis.value(memory_name(_OPTION, axis, written) if axis.memory else written)
        check_value(axis, value)
    except InputError as error:
        raise InputError(f"--set {axis.key}: {error}") from None
    if value in before:
        raise InputError(f"--set {axis.key}: {written} is listed twice")
    return value


def _values(grid: AcceleratorGrid, index: int, ranges: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """The values of the listed axes of one accelerator, as files have them."""
    unit, found = grid.units[grid.unit[index]], {}
    for name in ranges:
        axis = all_axes()[name]
        value = grid.value(name, index) if name in grid.values else getattr(unit, name)
        found[axis.key] = value if isinstance(value, str) or axis.scale == 1 else value / axis.scale
    return found
