"""The grid of units for calibration: all families of formats, accumulators and dot lengths, and shared units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from codesign.errors import InputError
from codesign.formats import FormatPair
from codesign.hardware.rtl.analyse.timing import KINDS, Steps
from codesign.hardware.rtl.emit.unit import Unit

# Approximate ps of each kind of logic, with which the grid is pipelined before anything is fitted, for a library in
# which an INT8 MAC takes PLANNED_PROBE_PS. Fixed, so that the grid of a library does not depend on an earlier fit.
PLANNED_LEVEL_PS = {
    "register": 52.0,
    "and": 5.0,
    "carry": 18.0,
    "xor": 15.0,
    "compress": 26.0,
    "majority": 26.0,
    "select": 27.0,
    "control": 22.0,
    "fanout": 8.0,
}
PLANNED_PROBE_PS = 570.0

# family -> (pair, accumulator, lanes)
SINGLE: dict[str, list[tuple[str, str, tuple[int, ...]]]] = {
    "integer": [
        ("int8", "int32", (1, 4, 8, 16, 32)),
        ("int4", "int24", (1, 4, 8, 16, 32)),
        ("int2", "int24", (8, 32)),
        ("int6", "int24", (1, 8, 16)),
        ("int16", "int40", (1, 4, 8)),
    ],
    "integer, unequal": [
        ("int4:int8", "int32", (1, 8, 16, 32)),
        ("int2:int8", "int24", (1, 16)),
        ("int4:int16", "int32", (1, 8, 16)),
        ("int6:int8", "int32", (4, 16)),
        ("int8_zp:int8", "int32", (8,)),
    ],
    "integer, float accumulator": [("int8", "fp32", (1, 8, 16)), ("int4:int8", "fp32", (16,))],
    "fp8": [
        ("fp8_e4m3", "fp32", (1, 8)),
        ("fp8_e4m3", "fp16", (1, 16)),
        ("fp8_e4m3", "exact", (1, 4, 8, 16, 32)),
        ("fp8_e4m3", "aligned25", (4, 16, 32)),
        ("fp8_e4m3", "aligned16", (4, 16, 32)),
        ("fp8_e5m2", "fp32", (1, 16)),
        ("fp8_e5m2", "exact", (1, 8)),
        ("fp8_e5m2", "aligned16", (8,)),
    ],
    "fp6 and fp4": [
        ("fp4_e2m1", "exact", (1, 4, 8, 16, 32)),
        ("fp4_e2m1", "fp32", (1, 16)),
        ("fp6_e2m3", "exact", (1, 16)),
        ("fp6_e2m3", "fp32", (8,)),
        ("fp6_e3m2", "exact", (1, 16)),
        ("fp6_e3m2", "fp32", (8,)),
    ],
    "unequal, with a float": [
        ("fp4_e2m1:fp8_e4m3", "fp32", (1, 8, 16, 32)),
        ("int4:fp8_e4m3", "fp32", (1, 8, 16)),
        ("int4:fp8_e4m3", "exact", (16,)),
        ("fp8_e5m2:fp8_e4m3", "aligned25", (8,)),
        ("int8:bf16", "fp32", (1, 8)),
    ],
    "16-bit floats": [
        ("bf16", "fp32", (1, 4, 16)),
        ("bf16", "aligned16", (8,)),
        ("fp16", "fp32", (1, 8)),
        ("fp16", "fp16", (1, 4)),
    ],
    "mx": [
        ("mxfp8_e4m3", "fp32", (1, 8, 16)),
        ("mxfp8_e4m3", "exact", (8,)),
        ("mxfp8_e5m2", "fp32", (8,)),
        ("mxfp6_e2m3", "fp32", (4, 16)),
        ("mxfp6_e3m2", "fp32", (8,)),
        ("mxfp4", "fp32", (1, 4, 8, 16, 32)),
        ("mxint8", "fp32", (1, 8, 16, 32)),
        ("mxfp4:mxfp8_e4m3", "fp32", (4, 16)),
    ],
    "scales with a significand": [
        ("nvfp4", "fp32", (1, 8, 16, 32)),
        ("int4_g32:int8", "fp32", (4, 16, 32)),
        ("int4_g32", "fp32", (8, 16)),
        ("int4_g32:fp8_e4m3", "fp32", (8,)),
        ("int4_g32:bf16", "fp32", (4,)),
    ],
}
# pairs -> (rates, accumulator, lanes)
SHARED: list[tuple[tuple[str, ...], tuple[int, ...], str, tuple[int, ...]]] = [
    (("int8", "int4"), (1, 4), "auto", (1, 4, 16)),
    (("int8", "int4:int8"), (1, 2), "auto", (8,)),
    (("int8", "int4:int8", "int4"), (1, 2, 4), "auto", (4, 16)),
    (("int8", "int4:int8"), (1, 1), "auto", (8,)),
    (("int8", "fp8_e4m3"), (1, 1), "auto", (1, 4, 16)),
    (("int8", "fp8_e4m3"), (1, 1), "exact", (8,)),
    (("int8", "fp8_e4m3", "int4_g32:int8"), (1, 1, 1), "auto", (8,)),
    (("int8", "int4_g32:int8"), (1, 1), "auto", (4, 16)),
    (("fp8_e4m3", "fp8_e5m2"), (1, 1), "auto", (4, 16)),
    (("mxfp8_e4m3", "mxfp6_e2m3", "mxfp4"), (1, 1, 1), "auto", (4, 16)),
    (("mxfp8_e4m3", "nvfp4"), (1, 1), "auto", (8,)),
    (("bf16", "fp8_e4m3"), (1, 1), "auto", (4,)),
    (("fp8_e4m3", "int4:fp8_e4m3", "fp4_e2m1:fp8_e4m3"), (1, 1, 1), "auto", (8,)),
    (("mxint8", "mxfp6_e2m3", "mxfp4"), (1, 1, 1), "auto", (8,)),
]
SHARED_FAMILY = "several formats"
ADDED_FAMILY, ADDED_LANES = "added formats", (1, 8, 16)
# Fewest units of a quick grid. With fewer, of the units of both shipped libraries, the errors that a quick grid states
# do not cover those of the units that it leaves out (reports/validation/quick_grid.py).
FEWEST = 24


@dataclass(frozen=True)
class Entry:
    """One unit of the grid."""

    family: str
    unit: Unit  # pipelined for clock_ps
    clock_ps: float


def grid(
    clocks_ps: tuple[float, ...],
    level_ps: Mapping[str, float],
    count: int | None = None,
    added: Sequence[FormatPair] = (),
) -> list[Entry]:
    """Every unit pipelined for every clock target; units with equal cuts at two clocks are both kept.

    count: of a quick grid, the number of units, spread over families and dot lengths; see `spread`. added: pairs whose
    units join it, see `units_of`.
    """
    units = unpipelined()
    if count is not None:
        units = spread(units, count)
    units += units_of(added, [unit for _, unit in units])
    ps = np.array([level_ps[kind] for kind in KINDS])
    steps = [Steps.of_unit(unit) for _, unit in units]
    return [
        Entry(family, unit.cut(found.plan(clock, ps).cuts), clock)
        for clock in clocks_ps
        for (family, unit), found in zip(units, steps, strict=True)
    ]


def unpipelined() -> list[tuple[str, Unit]]:
    """The (family, unit) of the whole grid, before pipelining."""
    units = [
        (family, Unit((FormatPair.parse(pair),), accumulator, lanes))
        for family, rows in SINGLE.items()
        for pair, accumulator, lengths in rows
        for lanes in lengths
    ]
    units += [
        (SHARED_FAMILY, Unit(tuple(map(FormatPair.parse, pairs)), accumulator, lanes, rates=rates))
        for pairs, rates, accumulator, lengths in SHARED
        for lanes in lengths
    ]
    return units


def units_of(pairs: Sequence[FormatPair], known: Sequence[Unit] = ()) -> list[tuple[str, Unit]]:
    """The (family, unit) of further pairs: three dot lengths each, but those that `known` units have.

    A step takes whole blocks, or a whole part of one: blocks of 24 have units of 1, 8 and 12 products.
    Raises InputError for a pair that no unit computes.
    """
    there = {(unit.pairs, unit.lanes) for unit in known}
    found = dict.fromkeys((pair, lanes) for pair in pairs for lanes in _lanes(pair))
    return [(ADDED_FAMILY, Unit((pair,), "auto", lanes)) for pair, lanes in found if ((pair,), lanes) not in there]


def _lanes(pair: FormatPair) -> list[int]:
    [mode] = Unit((pair,), "auto", 1).modes
    return [mode.unstraddled(lanes)[-1] for lanes in ADDED_LANES]


def spread(units: Sequence[tuple[str, Unit]], count: int, fewest: int = FEWEST) -> list[tuple[str, Unit]]:
    """`count` of the units: of each family in turn the one that halves its longest gap (bit-reversed order).

    A larger count holds all units of a smaller one. Raises InputError unless fewest <= count <= all.
    """
    if not fewest <= count <= len(units):
        raise InputError(f"--units: {count} units; a grid has {fewest} to {len(units)}")
    families: dict[str, list[tuple[str, Unit]]] = {}
    for entry in units:
        families.setdefault(entry[0], []).append(entry)
    turns = sorted(
        (turn, place, entry)
        for place, entries in enumerate(families.values())
        for turn, entry in enumerate(sorted(entries, key=lambda each: _reversed(entries.index(each), len(entries))))
    )
    return [entry for _, _, entry in turns[:count]]


def _reversed(index: int, count: int) -> int:
    """The index with its bits in reverse order."""
    return int(f"{index:0{max(1, (count - 1).bit_length())}b}"[::-1], 2)
