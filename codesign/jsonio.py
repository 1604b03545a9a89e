"""JSON files, which people edit too: read with one-line errors that name file, line and key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from codesign.errors import InputError
from codesign.files import read_text

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[][{},:]')
_TEXT = re.compile(r"\S")
_CLIPPED = 60  # characters of a wrong value that an error shows


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises InputError if the file is missing or no JSON, nests too deeply, writes a key twice, or holds a number that is
    not finite or has thousands of digits.
    """
    return parse_json(read_text(path), str(path))


def parse_json(text: str, name: str, *, finite: bool = True) -> Any:
    """The value of a JSON text called `name`; raises InputError as `read_json` (NaN only if `finite`)."""
    try:
        return json.loads(text, parse_constant=_no_constant if finite else float, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise InputError(f"{name}:{error.lineno}: broken JSON: {error.msg}") from None
    except RecursionError:
        raise InputError(f"{name}: nested too deeply") from None
    except ValueError as error:  # of the hooks, or of an integer of thousands of digits
        said = str(error)
        if "integer string conversion" in said:
            said = "a whole number of thousands of digits"
        raise InputError(f"{name}: {said}") from None


def _no_constant(written: str) -> float:
    raise ValueError(f"{written} is no number of JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [key for key, _ in pairs]
        twice = next(key for key in names if names.count(key) > 1)
        raise ValueError(f"key '{twice[:_CLIPPED]}' is written twice")
    return found


def checked(path: Path, data: Any, form: TypeAdapter[T]) -> T:
    """`data`, read from `path`, as the type of `form`; raises InputError naming file, line and key."""
    from pydantic import ValidationError

    try:
        return form.validate_python(data)
    except ValidationError as error:
        raise InputError(_described(path, error)) from None


def _described(path: Path, error: ValidationError) -> str:
    first = error.errors()[0]
    location = first["loc"]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    where = f"{path}:{line_of(read_text(path), *location)}"
    if first["type"] == "missing":
        return f"{where}: key '{key}' is missing"
    message = first["msg"].removeprefix("Value error, ").replace("valid tuple", "valid list")
    found = repr(first["input"])
    shown = f", found {found}" if first["type"] != "value_error" and len(found) <= _CLIPPED else ""
    return f"{where}: {key + ': ' if key else ''}{message}{shown}"


def line_of(text: str, *location: str | int) -> int:
    """The 1-based line of the key or item at `location` in a JSON text; of the nearest parent if it is absent."""
    best, line = 0, 1
    for path, position in _places(text, len(location)):
        if len(path) > best and path == location[: len(path)]:
            best, line = len(path), text.count("\n", 0, position) + 1
            if best == len(location):
                break
    return line


def _places(text: str, deepest: int) -> Iterator[tuple[tuple[str | int, ...], int]]:
    """(path, position) of every key and item, down to a depth."""
    path: list[str | int | None] = []  # None: within an object, before its first key
    key: tuple[str, int] | None = None
    for found in _TOKEN.finditer(text):
        token, start = found[0], found.start()
        if token[0] == '"':
            key = token, start
        elif token == ":" and path and key is not None:
            path[-1] = json.loads(key[0], strict=False)
            if len(path) <= deepest:
                yield tuple(part for part in path if part is not None), key[1]
        elif token in "{[":
            path.append(None if token == "{" else 0)
        elif token in "}]" and path:
            path.pop()
        elif token == "," and path and isinstance(path[-1], int):
            path[-1] += 1
        if path and isinstance(path[-1], int) and token in "[," and len(path) <= deepest:
            item = _TEXT.search(text, found.end())
            yield tuple(part for part in path if part is not None), item.start() if item else found.end()
