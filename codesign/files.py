"""Reading and writing whole files, with one-line errors."""

from __future__ import annotations

import csv
import io
import secrets
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
    """Write a file atomically, text in UTF-8, with the permissions that the umask leaves; creates its folder.

    Raises EnvironmentProblem if that fails.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, _bytes(content))
    except OSError as error:
        raise _unwritable(path, error) from None


def check_target(path: Path | None, option: str) -> None:
    """Raise InputError unless a file that a user names with `option` can be there: before any work is done for it."""
    if path is None:
        return
    if not path.parent.is_dir():
        raise InputError(f"{option} {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise InputError(f"{option} {path}: is a folder, expected a file")


def write_target(path: Path, content: str | bytes, option: str) -> None:
    """Write a file that a user names with `option`, text in UTF-8: atomically, except into a device or pipe.

    Raises InputError as `check_target`, EnvironmentProblem if it cannot be written.
    """
    check_target(path, option)
    try:
        if path.exists() and (not path.is_file() or path.parts[:2] in _DEVICES):
            path.write_bytes(_bytes(content))
        else:
            _replace(path.resolve(), _bytes(content))  # what a link points to is replaced, not the link
    except OSError as error:
        raise _unwritable(path, error) from None


_DEVICES = (("/", "dev"), ("/", "proc"))  # names of open files, such as /dev/stdout


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def _unwritable(path: Path, error: OSError) -> EnvironmentProblem:
    return EnvironmentProblem(f"{path}: cannot be written ({error.strerror or error})")


def _replace(path: Path, content: bytes) -> None:
    """Write a new file, with the permissions that the umask leaves, and rename it."""
    temporary = empty_beside(path)
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def empty_beside(path: Path) -> Path:
    """A new empty file in the folder of `path`, to be written and put in its place; raises OSError."""
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}")
    temporary.touch(exist_ok=False)
    return temporary


def write_new(path: Path, content: str) -> bool:
    """Write a file that does not exist; False if it does, and nothing is written then."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(content)
    except FileExistsError:
        return False
    except OSError as error:
        raise EnvironmentProblem(f"{path}: cannot be written ({error.strerror or error})") from None
    return True


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV with a header; the columns are the union of the rows' keys, in order of appearance."""
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(dict.fromkeys(key for row in rows for key in row)))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
