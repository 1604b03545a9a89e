"""Hand-written YAML files as pydantic models, with errors that name file, line and key.

The files are YAML 1.2, in which ``no`` is text and ``010`` is ten. Duplicate keys are errors.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from codesign.errors import InputError, nearest
from codesign.files import read_text

with warnings.catch_warnings():  # ruamel adds filters for everybody
    from ruamel.yaml import YAML
    from ruamel.yaml.constructor import DuplicateKeyError, SafeConstructor
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
    from ruamel.yaml.tag import Tag


_DEEP = re.compile(r"(?:[\[{]\s*){100}")
_TEXT, _MERGE = Tag(suffix="tag:yaml.org,2002:str"), "tag:yaml.org,2002:merge"


class _TextKeys(SafeConstructor):
    """Keys are names here, as they are written: a layer may be called 0, 1.10 or null."""

    def construct_document(self, node: Node) -> Any:
        left, seen = [node], set[int]()
        while left:
            inner = left.pop()
            if id(inner) in seen:  # an anchor's second use
                continue
            seen.add(id(inner))
            if isinstance(inner, SequenceNode):
                left += inner.value
            elif isinstance(inner, MappingNode):
                for key, value in inner.value:
                    left.append(value)
                    if isinstance(key, ScalarNode) and key.tag != _MERGE:
                        key.ctag = _TEXT
        return super().construct_document(node)


class Written(BaseModel):
    """Base of the models of hand-written files: frozen, without unknown keys, with finite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


M = TypeVar("M", bound=BaseModel)


def with_fields(base: type[Written], name: str, fields: Mapping[str, Any]) -> Any:
    """A subclass of `base` with fields defined at run time: key -> (type, default), or (type, ...) if required."""
    made: Any = create_model  # its overloads do not cover this call
    return made(name, __base__=base, **fields)


def load_yaml(path: Path, model: type[M], *, strict: bool = True) -> M:
    """Parse and validate a YAML file; raises InputError with one line that names file, line and key.

    strict: whether values must have the type of their field; otherwise they are converted where possible.
    """
    return parse_yaml(path, read_text(path), model, strict=strict)


def parse_yaml(path: Path, text: str, model: type[M], *, strict: bool = True) -> M:
    """`load_yaml` of a text; path: what errors call it."""
    root = _compose(path, text)
    data = _construct(path, text, root)
    if not isinstance(data, dict):
        raise InputError(f"{path}:1: expected a mapping of keys to values, found {type(data).__name__}")
    try:
        return model.model_validate(data, strict=strict)
    except ValidationError as error:
        raise InputError(_describe(path, root, error, model)) from None


def parse_options(
    where: str, written: Sequence[str], model: type[M], form: str, *, listed: bool = False, strict: bool = True
) -> M:
    """Validate ``KEY=VALUE`` of a command line as `load_yaml` does a file.

    where: what errors call the options; form: what an option looks like, for the error if one has no "=".
    listed: every value is a list, separated by commas.
    """
    lines = []
    for text in written:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"{where} {text}: write {form}")
        values = json.dumps([part.strip() for part in value.split(",")]) if listed else value
        lines.append(f"{json.dumps(key.strip())}: {values}")
    return parse_yaml(Path(where), "\n".join(lines) + "\n", model, strict=strict)


def line_of(path: Path, *location: str | int) -> int:
    """The 1-based line of the key or item at `location` in the YAML file (nearest parent if absent)."""
    return _line(_compose(path, read_text(path)), location)


def _yaml() -> YAML:
    yaml = YAML(typ="safe", pure=True)  # the other parser knows YAML 1.1 alone
    yaml.Constructor = _TextKeys
    return yaml


def _compose(path: Path, text: str) -> Node | None:
    """The nodes of a file; raises InputError with the line where it is broken."""
    if deep := _DEEP.search(text):  # the parser's time grows with the square of the depth
        raise InputError(f"{path}:{text.count(chr(10), 0, deep.start()) + 1}: nested too deeply")
    try:
        root: Node | None = _yaml().compose(text)
    except MarkedYAMLError as error:
        raise _broken(path, error) from None
    except YAMLError as error:
        raise InputError(f"{path}: broken YAML: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply") from None
    return root


def _construct(path: Path, text: str, root: Node | None) -> Any:
    """The values of a file, keys as text; raises InputError with the line of one that cannot be read."""
    try:
        return _yaml().load(text)
    except MarkedYAMLError as error:
        raise _broken(path, error) from None
    except ValueError as error:  # a date that is none, a number of thousands of digits
        raise InputError(f"{path}:{_unreadable(root)}: cannot be read: {error}") from None


def _broken(path: Path, error: MarkedYAMLError) -> InputError:
    mark = error.problem_mark or error.context_mark
    where = f"{path}:{mark.line + 1 if mark else 1}"
    if isinstance(error, DuplicateKeyError):
        key = error.problem.split('"')[1]  # which it holds nowhere else
        return InputError(f"{where}: {key}: this key is written twice")
    return InputError(f"{where}: broken YAML: {error.problem or error.context}")


def _unreadable(node: Node | None) -> int:
    """The line of the first value that cannot be constructed, 1 where there is none."""
    for value in _scalars(node):
        try:
            _yaml().load(value.value)
        except (ValueError, YAMLError):
            return int(value.start_mark.line) + 1
    return 1


def _scalars(node: Node | None) -> Iterator[ScalarNode]:
    if isinstance(node, ScalarNode) and node.style is None:
        yield node
    elif isinstance(node, MappingNode):
        for _, value in node.value:
            yield from _scalars(value)
    elif isinstance(node, SequenceNode):
        for value in node.value:
            yield from _scalars(value)


@contextmanager
def naming(path: Path, *location: str | int) -> Iterator[None]:
    """Within the context, prefix an InputError with file, line and key."""
    try:
        yield
    except InputError as error:
        key = ".".join(part for part in location if isinstance(part, str))
        raise InputError(f"{path}:{line_of(path, *location)}: {key}: {error}") from error.__cause__


def _line(root: Node | None, location: tuple[str | int, ...]) -> int:
    node, line = root, 1
    for part in location:
        step: Node | None = None
        if isinstance(node, MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    step, line = value, key.start_mark.line + 1
        elif isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
            step = node.value[part]
            line = step.start_mark.line + 1
        if step is None:
            break
        node = step
    return line


def _fields(model: Any, location: tuple[str | int, ...]) -> list[str]:
    """The valid keys next to an unknown key: those of the model at `location`, as far as it can be followed."""
    names: list[str] = []
    for part in location[:-1]:
        field = getattr(model, "model_fields", {}).get(part)
        if field is not None:
            model = field.annotation
        args = [a for a in getattr(model, "__args__", ()) if isinstance(a, type) and issubclass(a, BaseModel)]
        if args:
            model = args[0]
    if isinstance(model, type) and issubclass(model, BaseModel):
        names = list(model.model_fields)
    return names


# pydantic's errors in the terms of a file
_EXPECTED = {
    "string_type": "expected text, found {found}: put it in quotes",
    "model_type": "expected keys with values, found {found}",
    "dict_type": "expected keys with values, found {found}",
    "list_type": "expected a list, found {found}",
    "tuple_type": "expected a list, found {found}",
    "int_type": "expected a whole number, found {found}",
    "float_type": "expected a number, found {found}",
    "finite_number": "expected a finite number, found {found}",
    "missing": "this key is required",
    "too_short": "is empty: list at least {least}",
    "bool_type": "expected true or false, found {found}",
}


def _describe(path: Path, root: Node | None, error: ValidationError, model: type[BaseModel]) -> str:
    # a misspelt required key is both missing and unknown; the unknown one is the more helpful error
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    location = tuple(first["loc"])
    where = f"{path}:{_line(root, location)}"
    key = ".".join(str(part) for part in location) or "file"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"{where}: unknown key '{key}'{nearest(str(location[-1]), _fields(model, location))}{more}"
    said = _EXPECTED.get(first["type"], "").format(
        found=repr(first["input"])[:60], least=first.get("ctx", {}).get("min_length", 1)
    )
    message = said or first["msg"].removeprefix("Value error, ")
    return f"{where}: {key}: {message}{more}"
