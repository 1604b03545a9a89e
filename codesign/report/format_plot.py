"""A plot of formats: SQNR of products against area of the compute unit, and against area times memory.

It follows figure 3 of Darvish Rouhani et al. 2023 (With Shared Microexponents, A Little Shifting Goes a Long Way),
which plots QSNR against the normalised product of dot-product area and memory.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codesign.errors import EnvironmentProblem, InputError, nearest
from codesign.files import check_target, write_target
from codesign.formats import FloatElement, Format, get_format

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".svg", ".png", ".pdf")
_MOST_NAMED = 24  # with more formats, only those of the front are labelled
_MARKERS = {
    "integers": "o",
    "integers, scale a group": "s",
    "minifloats": "^",
    "MX and other blocks": "D",
    "16-bit floats": "P",
}


def check_plot(path: Path) -> None:
    """Raise InputError on a file type that is not supported or a folder that is missing.

    Raises EnvironmentProblem if matplotlib is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"--plot {path}: draws {', '.join(SUFFIXES)}, not '{path.suffix}'{nearest(path.suffix, SUFFIXES)}"
        )
    check_target(path, "--plot")
    if find_spec("matplotlib") is None:
        raise EnvironmentProblem("a plot needs matplotlib: pip install 'codesign[plot]'")


def write_format_plot(rows: Sequence[Mapping[str, Any]], dot: int, area_error: float, path: Path) -> None:
    """Plot the rows of ``codesign formats``.

    Args:
        rows: see `codesign.commands.formats.FormatRow`; formats without noise are left out.
        dot: dot-product length of the units.
        area_error: relative error of ratios of areas.
        path: the file to write.
    Raises:
        InputError: the file type is not supported.
        EnvironmentProblem: the file cannot be written, or matplotlib is not installed.
    """
    check_plot(path)
    rows = [row for row in rows if row["sqnr_db"]["products"] is not None]  # fp32 is exact: no noise, no point in dB
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    int8_bits = get_format("int8").bits_per_element
    areas = [row["area_over_int8"] for row in rows]
    memory = [area * row["bits_per_element"] / int8_bits for area, row in zip(areas, rows, strict=True)]
    _draw(left, rows, areas, area_error, f"area of a dot-{dot} unit / INT8's")
    _draw(right, rows, memory, area_error, f"area of a dot-{dot} unit x bits per element / INT8's")
    left.set_ylabel("SQNR of products, dB")
    left.legend(loc="lower right", fontsize="small")
    with matplotlib.rc_context({"svg.hashsalt": "codesign"}):  # the same plot gives the same file
        kind, drawn = path.suffix.lower(), io.BytesIO()
        metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(kind)
        figure.savefig(drawn, format=kind[1:], metadata=metadata, dpi=150)
    write_target(path, drawn.getvalue(), "--plot")


def front(costs: Sequence[float], sqnr: Sequence[float]) -> list[int]:
    """Indices of the Pareto-optimal points, by increasing cost."""
    found: list[int] = []
    for index in sorted(range(len(costs)), key=lambda i: (costs[i], -sqnr[i])):
        if not found or sqnr[index] > sqnr[found[-1]]:
            found.append(index)
    return found


def _draw(axes: Axes, rows: Sequence[Mapping[str, Any]], costs: Sequence[float], error: float, label: str) -> None:
    sqnr = [row["sqnr_db"]["products"] for row in rows]
    families = [_family(get_format(row["format"])) for row in rows]
    for family, marker in _MARKERS.items():
        own = [i for i, name in enumerate(families) if name == family]
        if own:
            axes.errorbar(
                [costs[i] for i in own],
                [sqnr[i] for i in own],
                xerr=[[costs[i] * error for i in own]] * 2,
                fmt=marker,
                label=family,
                elinewidth=0.6,
                markersize=5,
            )
    best = front(costs, sqnr)
    axes.step([costs[i] for i in best], [sqnr[i] for i in best], where="post", color="gray", linewidth=1, zorder=0)
    named = sorted(range(len(rows)) if len(rows) <= _MOST_NAMED else best, key=costs.__getitem__)
    for turn, index in enumerate(named):  # alternately above and below, so that neighbours overlap less
        offset = (-4, 5) if turn % 2 else (5, -9)
        axes.annotate(
            rows[index]["format"],
            (costs[index], sqnr[index]),
            offset,
            textcoords="offset points",
            fontsize=7,
            ha="right" if turn % 2 else "left",
        )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.set_xlabel(label)
    axes.grid(visible=True, linewidth=0.3)


def _family(form: Format) -> str:
    if isinstance(form.element, FloatElement) and form.element.bits == 16:
        return "16-bit floats"
    if form.is_block and not form.name.startswith("int"):
        return "MX and other blocks"
    if isinstance(form.element, FloatElement):
        return "minifloats"
    return "integers, scale a group" if form.is_block else "integers"
