"""Liberty's lookup tables: their centre value, or the value at a given slew and load."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

from codesign.hardware.calibration.liberty.text import Group

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_ROW = re.compile(r'"([^"]*)"')


@dataclass(frozen=True)
class Table:
    """``rows[i][j]`` is the value at index_1[i], index_2[j]; a one-dimensional table is one row, a scalar one value."""

    rows: tuple[tuple[float, ...], ...]
    index_1: tuple[float, ...] = ()
    index_2: tuple[float, ...] = ()


def numbers(text: str) -> tuple[float, ...]:
    return tuple(float(found) for found in _NUMBER.findall(text))


def table_of(group: Group, *kinds: str) -> Table | None:
    """The first existing table among `kinds` in the group, e.g. ``rise_power`` or else ``power``."""
    for kind in kinds:
        found = group.first(kind)
        if found is not None and "values" in found.complex:
            text = found.complex["values"]
            rows = tuple(numbers(row) for row in _ROW.findall(text)) or (numbers(text),)
            one, two = (numbers(found.complex.get(key, "")) for key in ("index_1", "index_2"))
            if len(rows) == 1 and two and len(rows[0]) == len(one) * len(two):  # one string for the whole table
                rows = tuple(rows[0][i * len(two) : (i + 1) * len(two)] for i in range(len(one)))
            return Table(rows, one, two)
    return None


def centre(group: Group, *kinds: str) -> float:
    """The centre value of the group's first table of one of `kinds`; 0 if there is none.

    Parses a single row, as libraries have about a hundred thousand rows of tables.
    """
    found = group.first(*kinds)
    text = found.complex.get("values", "") if found is not None else ""
    rows = _ROW.findall(text) or [text]
    row = numbers(rows[len(rows) // 2])
    return row[len(row) // 2] if row else 0.0


def at(table: Table, first: float, second: float) -> float:
    """Bilinear interpolation, clamped to the ends of the table; the centre value if the indices are not given."""
    rows = table.rows
    if len(table.index_1) != len(rows) or any(len(row) != len(table.index_2) for row in rows):
        middle = rows[len(rows) // 2]
        return middle[len(middle) // 2]
    i, u = _position(table.index_1, first)
    j, v = _position(table.index_2, second)
    low, high = rows[i], rows[min(i + 1, len(rows) - 1)]
    k = min(j + 1, len(table.index_2) - 1)
    return (1 - u) * ((1 - v) * low[j] + v * low[k]) + u * ((1 - v) * high[j] + v * high[k])


def _position(index: tuple[float, ...], value: float) -> tuple[int, float]:
    if len(index) == 1 or value <= index[0]:
        return 0, 0.0
    i = min(bisect_right(index, value) - 1, len(index) - 2)
    return i, min(1.0, (value - index[i]) / (index[i + 1] - index[i]))
