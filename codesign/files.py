"""Reading and writing whole files, with one-line errors."""

from __future__ import annotations

import csv
import io
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codesign.errors import EnvironmentProblem, InputError


def read_text(path: Path) -> str:
    """The text of a file in UTF-8; raises InputError if it is missing or unreadable."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file in UTF-8"
        raise InputError(f"{path}: cannot be read ({reason})") from None


def make_folder(folder: Path) -> None:
    """Create a folder if it does not exist; raises EnvironmentProblem unless it is writable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise EnvironmentProblem(f"{folder}: cannot be written ({error.strerror or error})") from None


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file atomically, text in UTF-8; creates its folder. Raises EnvironmentProblem if that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise EnvironmentProblem(f"{path}: cannot be written ({error.strerror or error})") from None


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV with a header; the columns are the union of the rows' keys, in order of appearance."""
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(dict.fromkeys(key for row in rows for key in row)))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
