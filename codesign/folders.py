"""Whose folder it is: commands write into a new or empty folder, or into their own; nothing else is overwritten."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path

from codesign.errors import EnvironmentProblem, InputError
from codesign.files import write_atomic

MARK = "codesign.json"  # the command that a folder belongs to; a study's folder has its study.json
_NAMED = 3  # files of somebody else that the error names


def entries(folder: Path) -> set[str]:
    """The names in a folder, without hidden ones and what a file system puts there; none if there is no folder.

    Raises InputError if it is a file, EnvironmentProblem if it cannot be read.
    """
    try:
        return {each.name for each in folder.iterdir() if not each.name.startswith((".", "lost+found"))}
    except FileNotFoundError:
        return set()
    except NotADirectoryError:
        if folder.exists():
            raise InputError(f"{folder}: is no folder; give another --out") from None
        return set()  # a file in the place of a parent: its making will say so
    except OSError as error:
        raise EnvironmentProblem(f"{folder}: cannot be read ({error.strerror or error})") from None


def other_files(folder: Path, found: Collection[str], missing: str) -> InputError:
    """The error that a folder holds the files `found` and not `missing`, which would make it one's own."""
    some = ", ".join(sorted(found)[:_NAMED]) + (", ..." if len(found) > _NAMED else "")
    return InputError(f"{folder}: holds other files ({some}) and no {missing}; give a new folder as --out")


def check_own(folder: Path, command: str, known: Collection[str] = ()) -> None:
    """Raise InputError unless `folder` is new or empty, or `mark` says that `command` wrote it.

    known: names of files that only this command writes, by which an unmarked folder is its own too.
    """
    found = entries(folder)
    if MARK in found:
        owner = _owner(folder / MARK)
        if owner != command:
            raise InputError(f"{folder}: holds what codesign {owner} wrote; give a new folder as --out")
    elif found and not found & set(known):
        raise other_files(folder, found, f"{MARK} of codesign {command}")


def mark(folder: Path, command: str) -> None:
    """Write down that `folder` is that of `command`; nothing if it wrote nothing there."""
    if entries(folder):
        write_atomic(folder / MARK, json.dumps({"written_by": command}) + "\n")


def new_parents(folder: Path) -> list[Path]:
    """The parents of a folder that do not exist yet, the outermost last."""
    return [parent for parent in folder.parents if not parent.exists()]


def _owner(path: Path) -> str:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["written_by"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path}: not what codesign wrote there; give another --out") from None


def user_cache() -> Path:
    """The user's folder for what can be computed again: $XDG_CACHE_HOME/codesign, by default ~/.cache/codesign."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "codesign"
