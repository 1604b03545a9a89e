"""Output of commands: JSON or tables on stdout, and the folders that they write into."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import re
import sys
import textwrap
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from codesign.folders import check_own, mark, new_parents
from codesign.formats import Assignment, FormatPair, read_assignment
from codesign.human import human as with_prefix

if TYPE_CHECKING:
    from codesign.workload import Workload


def print_json(value: Any) -> None:
    """Print a command's result as JSON on stdout."""
    print(json.dumps(value, indent=1))


_GAP = "  "  # between the columns of plain text


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on stdout, with columns of numbers right-aligned, all others left-aligned.

    Framed where a terminal is wide enough; in a pipe or file text of at most 100 characters, in which long texts
    and headings, but no numbers, continue on further lines. Where that does not fit either, each row is a list of its
    cells, as on a narrower terminal.
    """
    console = Console(markup=False, emoji=False, highlight=False)  # names are printed as they are
    listed = [list(map(str, row)) for row in rows]
    widths = [max(map(cell_len, cells)) for cells in zip(columns, *listed, strict=True)]
    left = [i == 0 or not all(map(_is_number, cells)) for i, cells in enumerate(zip(*listed, strict=True))]
    plain = sum(widths) + len(_GAP) * (len(widths) - 1)
    if console.is_terminal:
        if plain > console.width:
            _print_lists(title, columns, listed)
            return
        if sum(widths) + 3 * len(widths) + 1 <= console.width:
            table = Table(title=title, title_justify="left")
            for column, lefty in zip(columns, left or [True] * len(columns), strict=True):
                table.add_column(column, justify="left" if lefty else "right", no_wrap=True)
            for row in listed:
                table.add_row(*row)
            console.print(table)
            return
    aligned = left or [True] * len(columns)
    if plain > _WIDTH:
        fitted = _fitted(columns, listed, aligned, widths)
        if fitted is None:
            _print_lists(title, columns, listed)
            return
        widths = fitted
    print(title)
    for row in [list(columns), ["-" * width for width in widths], *listed]:
        parts = [_wrapped(cell, width) for cell, width in zip(row, widths, strict=True)]
        for line in itertools.zip_longest(*parts, fillvalue=""):
            cells = [_padded(*each) for each in zip(line, widths, aligned, strict=True)]
            print(_GAP.join(cells).rstrip())
    print()


def print_text(text: str, mark: str = "") -> None:
    """Print prose on stdout in lines of at most 100 characters, or of a narrower terminal's width.

    mark: before the first line, such as "- "; further lines are indented as far.
    """
    console = Console()
    width = min(console.width, _WIDTH) if console.is_terminal else _WIDTH
    indent = " " * len(mark)
    lines = textwrap.wrap(
        text, width, initial_indent=mark, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    print("\n".join(lines))


_WIDTH = 100  # most characters of a line that is not for a terminal
_PIECES = re.compile(r"(?<=[\s._/:,+])")


def _fitted(
    columns: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[bool], widths: Sequence[int]
) -> list[int] | None:
    """Widths that fit a line, the widest columns made narrower; None where their longest pieces do not fit."""
    least = []
    for heading, cells, text in zip(columns, zip(*rows, strict=True), left, strict=True):
        pieces = [*_PIECES.split(heading), *(p for cell in cells for p in (_PIECES.split(cell) if text else [cell]))]
        least.append(max(cell_len(piece.rstrip()) for piece in pieces))
    fitted = list(widths)
    while sum(fitted) + len(_GAP) * (len(fitted) - 1) > _WIDTH:
        room = [width if width > narrowest else 0 for width, narrowest in zip(fitted, least, strict=True)]
        if not any(room):
            return None
        fitted[room.index(max(room))] -= 1
    return fitted


def _wrapped(cell: str, width: int) -> list[str]:
    """A cell in lines that are no longer than a width, broken between its pieces."""
    lines = [""]
    for piece in _PIECES.split(cell):
        if cell_len((lines[-1] + piece).rstrip()) <= width:
            lines[-1] += piece
        else:
            lines.append(piece)
    return [line.strip() for line in lines]


def _print_lists(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    print(title)
    for row in rows:
        cells = zip(columns, row, strict=True)
        print("- " + "\n  ".join(f"{column}: {cell}" if column else cell for column, cell in cells))


_NUMBER = re.compile(r"$|[-+<>~]?\d|inf|nan", re.IGNORECASE)


def _is_number(cell: str) -> bool:
    """Whether a cell begins as a number does, or is empty."""
    return _NUMBER.match(cell.strip()) is not None


def _padded(cell: str, width: int, left: bool) -> str:
    space = " " * (width - cell_len(cell))
    return cell + space if left else space + cell


def human(value: float, unit: str = "") -> str:
    """A number with three significant digits and an SI prefix: 1.23 ms; without a unit it is a count: 860 M."""
    return with_prefix(value, unit or "count")


def assignment_for(workload: Workload, arguments: argparse.Namespace) -> Assignment:
    """The Assignment given by --formats, --assignment or --rules; raises InputError if it is invalid."""
    if arguments.rules:
        from codesign.workload.role_files import load_rules

        return load_rules(arguments.rules).apply(workload)
    if arguments.assignment:
        return read_assignment(arguments.assignment)
    pair = FormatPair.parse("int8" if arguments.formats is None else arguments.formats).checked()
    return Assignment.of_pairs(dict.fromkeys(workload.layers, pair), workload.layer_kinds())


def say_new_parents(folder: Path, what: str) -> None:
    """Say on stderr if `what` will be in a folder whose parents do not exist yet: its name may be misspelt."""
    if missing := new_parents(folder):
        print(f"{missing[-1]}: this folder is new; {what} will be in {folder}", file=sys.stderr)


@contextlib.contextmanager
def own_folder(folder: Path, command: str, known: Collection[str] = ()) -> Iterator[None]:
    """Within the context, `command` writes into `folder`, which is its own then, also after an error.

    Raises InputError as `check_own`.
    """
    check_own(folder, command, known)
    say_new_parents(folder, "the files")
    try:
        yield
    finally:
        mark(folder, command)
