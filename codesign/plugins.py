"""Extensions: objects named ``python:module:name``, and entry points of installed packages."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

from codesign.errors import InputError, nearest

PREFIX = "python:"
T = TypeVar("T")


def installed(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group, by name."""
    return {point.name: point for point in entry_points(group=group)}


def by_name(kind: str, name: str, own: Mapping[str, T], group: str, *more: str) -> T:
    """The object `name`: built in, or loaded from an installed package's entry point. Built-in names take precedence.

    Args:
        kind: what it is, for the error text.
        name: its name.
        own: the built-in objects.
        group: the entry point group.
        more: further valid spellings, for the error text.
    Raises:
        InputError: unknown name; the text has the nearest.
    """
    if name in own:
        return own[name]
    others = installed(group)
    if name not in others:
        raise InputError(f"unknown {kind} '{name}'{nearest(name, [*own, *others, *more])}")
    found: T = others[name].load()
    return found


@contextmanager
def importable(*folders: Path | None) -> Iterator[None]:
    """Within the context, append the working folder and then `folders` to ``sys.path``."""
    added = [str(folder.resolve()) for folder in (Path.cwd(), *folders) if folder is not None]
    added = [folder for folder in dict.fromkeys(added) if folder not in sys.path]
    sys.path.extend(added)
    try:
        yield
    finally:
        for folder in set(added) & set(sys.path):
            sys.path.remove(folder)


def named_object(spec: str) -> Any:
    """The callable named ``python:package.module:name``; raises InputError with the nearest name if there is none."""
    module_name, _, name = spec.removeprefix(PREFIX).partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), name)):
        raise InputError(f"'{spec}': expected python:package.module:function")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InputError(f"'{spec}': cannot import {module_name} ({error})") from None
    found = getattr(module, name, None)
    if not callable(found):
        raise InputError(f"'{spec}': no function '{name}'{nearest(name, vars(module))}")
    return found
