"""Reads a memory type from its own YAML file: the rows of its kind, each with value, unit, source and quality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

from pydantic import BeforeValidator

from codesign.hardware.units.coefficients import Coefficient
from codesign.yamlio import Written, load_yaml, with_fields

T = TypeVar("T")


def _row(written: Any) -> Coefficient:
    """A row as a Coefficient; raises ValueError if it is not one."""
    if not isinstance(written, Mapping):
        raise ValueError(f"expected a row {{value, unit, source, quality}}, found {written!r}")
    return Coefficient.of(written)  # type: ignore[arg-type]  # `of` checks the keys of the row


_Row = Annotated[Coefficient, BeforeValidator(_row)]
_WRITTEN = {Coefficient: _Row, Mapping[str, Coefficient]: dict[str, _Row], str: str}


def load_rows(path: Path, made: type[T]) -> T:
    """Read an instance of `made`, a dataclass of rows; raises InputError naming file, line and key."""
    hints, keys = get_type_hints(made), fields(made)  # type: ignore[arg-type]  # every T is a dataclass
    rows = {f.name: (_WRITTEN[hints[f.name]], ... if f.default is MISSING else f.default) for f in keys}
    found = load_yaml(path, with_fields(Written, made.__name__, rows))
    return made(**{f.name: getattr(found, f.name) for f in keys})
