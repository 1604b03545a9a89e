"""Delays of gates and the slews that they hand on, from Liberty's tables, for the simulation of glitches.

A gate's delay is the mean over its input pins, over rise and fall and over the conditions of its arcs, at the slew of
its inputs and its own load. The slew is propagated from the flip-flops on, as a static timing analyser does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from codesign.hardware.calibration.liberty.library import Library
from codesign.hardware.calibration.liberty.lookup import Table, table_of
from codesign.hardware.calibration.liberty.text import Group, outline

Floats = npt.NDArray[np.float64]
_EDGES = {"delay": ("cell_rise", "cell_fall"), "slew": ("rise_transition", "fall_transition")}


@dataclass(frozen=True)
class Surface:
    """A quantity in ps over the input slew in ps and the load in fF."""

    slew_ps: Floats
    load_ff: Floats
    ps: Floats  # [slews, loads]

    def at(self, slew_ps: Floats, load_ff: Floats) -> Floats:
        """Bilinear interpolation, clamped to the ends of the table."""
        i, u = _position(self.slew_ps, slew_ps)
        j, v = _position(self.load_ff, load_ff)
        k, m = np.minimum(i + 1, len(self.slew_ps) - 1), np.minimum(j + 1, len(self.load_ff) - 1)
        low = (1 - v) * self.ps[i, j] + v * self.ps[i, m]
        high = (1 - v) * self.ps[k, j] + v * self.ps[k, m]
        return np.asarray((1 - u) * low + u * high)


@dataclass(frozen=True)
class CellDelay:
    """Delay and output slew of one output pin."""

    delay: Surface
    slew: Surface


def cell_delays(library: Library, names: Collection[str]) -> dict[tuple[str, str], CellDelay]:
    """(cell, output pin) -> its delay, for those of the cells that have delay tables."""
    found: dict[tuple[str, str], CellDelay] = {}
    left = set(names)
    for path in library.paths:
        parser, _, inner = outline(path)
        for group, _ in inner:
            if group.kind == "cell" and group.arguments and group.arguments[0] in left:
                name = group.arguments[0]
                left.discard(name)
                cell = parser.group(group.offset, {"internal_power", "leakage_power", "receiver_capacitance", "pg_pin"})
                for pin in cell.all("pin"):
                    arcs = [arc for arc in pin.all("timing") if "values" in _tables(arc)]
                    if arcs:
                        surfaces = {kind: _mean(arcs, edges, library) for kind, edges in _EDGES.items()}
                        found |= {(name, one): CellDelay(**surfaces) for one in pin.arguments}
    return found


def _tables(arc: Group) -> Mapping[str, str]:
    first = arc.first("cell_rise", "cell_fall")
    return first.complex if first is not None else {}


def _mean(arcs: list[Group], edges: tuple[str, str], library: Library) -> Surface:
    """The mean of the tables of all arcs and edges, on the axes of the first one."""
    tables = [table for arc in arcs for edge in edges if (table := table_of(arc, edge)) is not None]
    axes = _surface(tables[0], library)
    total = np.zeros_like(axes.ps)
    for table in tables:
        one = _surface(table, library)
        slews, loads = np.meshgrid(axes.slew_ps, axes.load_ff, indexing="ij")
        same = np.array_equal(one.slew_ps, axes.slew_ps) and np.array_equal(one.load_ff, axes.load_ff)
        total = total + (one.ps if same else one.at(slews, loads))
    return Surface(axes.slew_ps, axes.load_ff, total / len(tables))


def _surface(table: Table, library: Library) -> Surface:
    rows = np.array(table.rows) * library.time_ps
    one = np.array(table.index_1) if len(table.index_1) == rows.shape[0] else np.zeros(1)
    two = np.array(table.index_2) if len(table.index_2) == rows.shape[1] else np.zeros(1)
    rows = rows if len(one) == rows.shape[0] and len(two) == rows.shape[1] else rows.mean(keepdims=True)
    return Surface(one * library.time_ps, two * library.load_ff, rows)


def _position(index: Floats, value: Floats) -> tuple[npt.NDArray[np.int64], Floats]:
    if len(index) == 1:
        return np.zeros(np.shape(value), dtype=np.int64), np.zeros(np.shape(value))
    i = np.clip(np.searchsorted(index, value, side="right") - 1, 0, len(index) - 2)
    return i, np.clip((value - index[i]) / (index[i + 1] - index[i]), 0.0, 1.0)
