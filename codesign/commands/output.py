"""Output of commands: JSON or tables on stdout, and the folders that they write into."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from codesign.folders import check_own, mark, new_parents
from codesign.formats import Assignment, FormatPair, read_assignment
from codesign.report.text import human as with_prefix

if TYPE_CHECKING:
    from codesign.workload import Workload


def print_json(value: Any) -> None:
    """Print a command's result as JSON on stdout."""
    print(json.dumps(value, indent=1))


_NARROWEST = 8  # characters of a column; on a narrower terminal each row is a list


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on stdout, with the first column left-aligned and the others right-aligned.

    On a narrow terminal each row is a list of its cells.
    """
    console = Console(markup=False, emoji=False, highlight=False)  # names are printed as they are
    if console.width < _NARROWEST * len(columns):
        print(title)
        for row in rows:
            cells = zip(columns, row, strict=True)
            print("- " + "\n  ".join(f"{column}: {cell}" if column else cell for column, cell in cells))
        return
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


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
