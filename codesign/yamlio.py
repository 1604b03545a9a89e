"""Hand-written YAML files as pydantic models, with errors that name file, line and key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from codesign.errors import InputError, nearest
from codesign.files import read_text


class Written(BaseModel):
    """Base of the models of hand-written files: frozen, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


M = TypeVar("M", bound=BaseModel)


def with_fields(base: type[Written], name: str, fields: Mapping[str, Any]) -> Any:
    """A subclass of `base` with fields defined at run time: key -> (type, default), or (type, ...) if required."""
    made: Any = create_model  # its overloads do not cover this call
    return made(name, __base__=base, **fields)


def load_yaml(path: Path, model: type[M]) -> M:
    """Parse and validate a YAML file; raises InputError with one line that names file, line and key."""
    text = read_text(path)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise InputError(f"{path}:{line}: broken YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: broken YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}:1: expected a mapping of keys to values, found {type(data).__name__}")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise InputError(_describe(path, root, error, model)) from None


def line_of(path: Path, *location: str | int) -> int:
    """The 1-based line of the key or item at `location` in the YAML file, or of its nearest existing parent."""
    return _line(yaml.compose(read_text(path), Loader=yaml.SafeLoader), location)


@contextmanager
def naming(path: Path, *location: str | int) -> Iterator[None]:
    """Within the context, prefix an InputError with file, line and key."""
    try:
        yield
    except InputError as error:
        key = ".".join(part for part in location if isinstance(part, str))
        raise InputError(f"{path}:{line_of(path, *location)}: {key}: {error}") from None


def _line(root: yaml.Node | None, location: tuple[str | int, ...]) -> int:
    node, line = root, 1
    for part in location:
        step: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    step, line = value, key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
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


def _describe(path: Path, root: yaml.Node | None, error: ValidationError, model: type[BaseModel]) -> str:
    # a misspelt required key is both missing and unknown; the unknown one is the more helpful error
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    location = tuple(first["loc"])
    where = f"{path}:{_line(root, location)}"
    key = ".".join(str(part) for part in location) or "file"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"{where}: unknown key '{key}'{nearest(str(location[-1]), _fields(model, location))}{more}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {key}: {message}{more}"
