"""Whose folder it is: a study writes into a new or empty folder, or into its own; nothing else is overwritten."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from pathlib import Path
from typing import Any

from codesign.designs.folder import FRONT
from codesign.errors import InputError
from codesign.files import make_folder, write_new
from codesign.folders import entries, other_files
from codesign.search.queue.storage import without_password
from codesign.search.space.changes import changes
from codesign.search.space.resolve import SearchSpace

CLAIM = "study.json"  # the study that a folder belongs to
DATABASE = "study.db"
_FROM = "space_file"  # that `space` was read from, as seen from the study's folder; older claims lack it


def check_folder(folder: Path, space: SearchSpace, storage: str | None = None) -> None:
    """Raise InputError unless `folder` is new or empty, or belongs to the study of `space` in this storage.

    storage: URL; None for the default one, and for studies without measurements.
    """
    held = entries(folder)
    if not held:
        return
    name, other = space.spec.name, "give another --out"
    if CLAIM in held:
        claim = _read(folder)
        if claim["study"] != name:
            raise InputError(f"{folder}: holds the study '{claim['study']}', not '{name}'; {other}")
        if claim["storage"] != _shown(storage):
            where = [text or f"its {DATABASE}" for text in (claim["storage"], _shown(storage))]
            raise InputError(
                f"{folder}: holds this study as kept in {where[0]}, not in {where[1]}; {other}, or remove its {CLAIM}"
            )
        if space.fixed or (storage is None and DATABASE not in held):  # else the storage knows the study's space
            _check_space(folder, claim["space"], space)
        return
    found = _names(folder) if DATABASE in held else _name_of_front(folder) if FRONT in held else None
    if found is None:
        raise other_files(folder, held, "study")
    if found and name not in found:
        raise InputError(f"{folder}: holds the study '{found[0]}', not '{name}'; {other}")


def claim_folder(folder: Path, space: SearchSpace, storage: str | None = None) -> None:
    """Write down that `folder` is that of the study; raises InputError if another one was faster."""
    make_folder(folder)
    written = {"study": space.spec.name, "storage": _shown(storage), "space": space.described()}
    written[_FROM] = os.path.relpath(space.path.resolve(), folder.resolve())
    if not write_new(folder / CLAIM, json.dumps(written, indent=1)):
        check_folder(folder, space, storage)


def claimed(folder: Path) -> dict[str, Any]:
    """The claim of a folder; {} if it has none."""
    return _read(folder) if (folder / CLAIM).exists() else {}


def space_folder(folder: Path) -> Path:
    """The folder from which a study's space names files: that of the file it was made from, or the study's own.

    Of a study that was moved without that file, it is the study's own.
    """
    written = claimed(folder).get(_FROM)
    found = (folder / str(written)).resolve()
    return found.parent if written is not None and found.is_file() else folder


def _read(folder: Path) -> dict[str, Any]:
    path = folder / CLAIM
    try:
        claim = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(claim, dict) and {"study", "storage", "space"} <= claim.keys():
            return claim
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); give another --out") from None
    raise InputError(f"{path}: not what codesign wrote there; give another --out")


def _check_space(folder: Path, before: dict[str, Any], space: SearchSpace) -> None:
    differs = changes(before, json.loads(json.dumps(space.described())))
    if differs:
        raise InputError(
            f"{folder}: holds study '{space.spec.name}', made with another space ({differs}): results cannot be mixed; "
            "give another --out (or undo the change)"
        )


def _shown(storage: str | None) -> str | None:
    return None if storage is None else without_password(storage)


def _names(folder: Path) -> list[str]:
    """The studies in a folder's database; [] if it cannot be read, which its opening will say."""
    url = f"{(folder / DATABASE).resolve().as_uri()}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(url, uri=True)) as database:
            return [name for (name,) in database.execute("SELECT study_name FROM studies ORDER BY study_id")]
    except sqlite3.Error:
        return []


def _name_of_front(folder: Path) -> list[str] | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return [json.loads((folder / FRONT).read_text(encoding="utf-8"))["study"]]
    return None
