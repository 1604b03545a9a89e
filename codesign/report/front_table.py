"""The front as a table of few rows: the extremes, the balanced design, what lies between, and INT8 everywhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from codesign.designs import Baseline, Design, Study
from codesign.human import human
from codesign.report.words import Reading, formats_words, pair_words, reading
from codesign.search.study.representatives import unit_box

MOST, WIDTH = 12, 100  # designs shown, characters of a row
_INT8 = "uniform int8:int8"
_FORMATS, _PAIRS = "most layers", "pairs of its unit"
_GAP = 2  # characters between columns


def front_table(files: Study, most: int = MOST, width: int = WIDTH) -> tuple[str, list[str], list[list[str]]]:
    """Title, columns and rows of a table of at most `most` designs, no row wider than `width` characters.

    An asterisk marks the best value of the whole reported front in a column. The pairs of a unit are shortened to what
    fits, objectives from the last on are left out where even that is too wide; both are said.
    """
    read = [reading(files, goal) for goal in files.front.objectives]
    designs = shown_designs(files, most)
    best = [min(d.objectives[name] for d in files.front) for name in files.front.names]
    rows = [_row(files, design, read, best) for design in designs]
    rows += [_row(files, each, read, None) for each in files.record.baselines if each.label == _INT8]
    columns = ["design", *(_heading(each, len(files.record.tasks)) for each in read)]
    room = width
    while len(columns) > 2 and (room := width - _wide(columns, rows)) < 0:
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    left_out = len(read) + 1 - len(columns)
    every: list[Design] = [*designs, *(each for each in files.record.baselines if each.label == _INT8)]
    used = [formats_words(each) for each in every]
    needed = _GAP + max(map(len, [_FORMATS, *used]))
    if room >= needed + (_GAP + len(_PAIRS) if files.hardware else 0):
        columns.append(_FORMATS)
        rows, room = [[*row, text] for row, text in zip(rows, used, strict=True)], room - needed
    if files.hardware and room >= _GAP + len(_PAIRS):
        columns.append(_PAIRS)
        rows = [[*row, _pairs(d, room - _GAP)] for row, d in zip(rows, every, strict=True)]
    title = f"front: {len(designs)} of {files.front.front_size:,} designs; * the best in its column"
    if any("float" in each.label for each in read):
        title += "; quality is against float"
    if left_out:
        title += f"; {left_out} more in the report"
    return title, columns, rows


def shown_designs(files: Study, most: int = MOST) -> list[Design]:
    """The extremes of every objective, the balanced design, then those farthest from all shown; by the first cost."""
    designs = list(files.front)
    points = unit_box(np.array([list(d.objectives.values()) for d in designs]))
    chosen = [next(i for i, d in enumerate(designs) if d.id == files.record.chosen)]
    chosen += [int(i) for i in points.argmin(axis=0)]
    chosen = list(dict.fromkeys(chosen))[:most]
    while len(chosen) < min(most, len(designs)):
        away = np.linalg.norm(points[:, None] - points[chosen][None], axis=2).min(axis=1)
        if away.max() == 0:
            break
        chosen.append(int(away.argmax()))
    costs = [name for name in files.front.names if not name.endswith(".quality")]
    by = costs[0] if costs else files.front.names[0]
    return sorted((designs[i] for i in chosen), key=lambda d: d.objectives[by])


def _row(files: Study, design: Design, read: Sequence[Reading], best: Sequence[float] | None) -> list[str]:
    mark = " all INT8" if isinstance(design, Baseline) else " balanced" if design.id == files.record.chosen else ""
    cells = [design.id + mark]
    for i, (name, each) in enumerate(zip(files.front.names, read, strict=True)):
        stored = design.objectives[name]
        unit = each.unit if each.unit in _PREFIXED else ""
        text = f"{each.value(stored):.2f}" if each.unit == "dB" else human(each.value(stored), unit)
        cells.append(text + ("*" if best is not None and stored == best[i] else " "))
    return cells


_PREFIXED = ("s", "J", "B", "bit2", "count")  # whose prefix depends on the value, so that the cell has the unit


def _heading(each: Reading, networks: int) -> str:
    """The network, if there are several, and the unit, or what the quantity is where the cells have the unit."""
    network, _, what = each.label.rpartition(": ")
    of_quality = network and each.unit and each.unit not in _PREFIXED
    what = _SHORT.get(what, what) + ("" if each.unit in _PREFIXED or not each.unit else f" {each.unit}")
    return " ".join(filter(None, [network if networks > 1 else "", each.unit if of_quality else what]))


_SHORT = {"latency of one result": "latency", "energy of one result": "energy", "latency of a token": "per token"}


def _wide(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    return sum(widths) + _GAP * (len(widths) - 1)


def _pairs(design: Design, room: int) -> str:
    """The pairs of a design's unit, as many as fit, and how many more there are."""
    names = [pair_words(pair) for pair in design.accelerator.pairs]
    for count in range(len(names), 0, -1):
        more = f" +{len(names) - count}" if count < len(names) else ""
        if len(text := ", ".join(names[:count]) + more) <= room:
            return text
    return f"{len(names)} pairs"
