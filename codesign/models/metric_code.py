"""The identity of a metric's code that stands outside the file of its task: in other modules, in installed packages."""

from __future__ import annotations

import contextlib
import dis
import functools
import importlib.metadata
import importlib.util
import inspect
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from codesign.plugins import is_installed, module_code
from codesign.sources import digest_of_package

# compared by their own version, with which a study may go on (`codesign.search.study.sentinels`), or not a user's
_APART = {"torch", "numpy", "codesign", *sys.stdlib_module_names}


def metric_code(metric: Any, task_file: Path | None) -> list[str]:
    """What a metric is made of besides `task_file`, sorted: a user's modules by code, installed packages by version.

    Followed are the functions, classes and modules that it names, those that these name in turn, and what it holds:
    arguments of a partial, variables of a closure, defaults. Code of installed packages is not followed.
    """
    parts: set[str] = set()
    seen: dict[int, Any] = {}
    left = [metric]
    while left:
        found = left.pop()
        if id(found) in seen:
            continue
        seen[id(found)] = found  # kept, so that no other object takes its id
        if isinstance(found, functools.partial):
            left += [found.func, *found.args, *found.keywords.values()]
            continue
        if inspect.ismethod(found):
            left += [found.__func__, found.__self__]
            continue
        if callable(found) and hasattr(found, "__wrapped__"):
            left.append(found.__wrapped__)
        if not isinstance(found, (_Imported, type, ModuleType)) and not inspect.isroutine(found):
            found = type(found)  # an object that is called, or that a function uses
        name = _module_of(found)
        file = _file_of(name)
        if _top(name) in _APART or file is None:
            continue
        if is_installed(file):
            parts.add(_distribution(_top(name), file))
            continue
        if file != task_file:
            parts.add(f"{_plain(name)} {module_code(_plain(name), file)}")
        left += _named(found)
    return sorted(parts)


class _Imported(str):
    """The name of a module that a function imports when it runs."""


def _module_of(found: Any) -> str:
    """The name of the module that a function or class is defined in, or that a module has."""
    if isinstance(found, _Imported):
        return str(found)
    return str(getattr(found, "__name__" if isinstance(found, ModuleType) else "__module__", None) or "")


def _file_of(name: str) -> Path | None:
    """The file of a module, loaded or not; of one that is not, the file of its package."""
    if name in sys.modules:
        file = getattr(sys.modules[name], "__file__", None)
        return Path(file).resolve() if file else None
    with contextlib.suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(_top(name))
        return Path(spec.origin).resolve() if spec is not None and spec.has_location and spec.origin else None
    return None


def _top(name: str) -> str:
    return name.partition(".")[0]


def _plain(name: str) -> str:
    """The name of a user's module without that of the package under which its folder is loaded."""
    return name.partition(".")[2] if name.startswith("_codesign_") else name


def _named(found: Any) -> Iterator[Any]:
    """What a user's function or class names: functions, classes, modules and objects."""
    if isinstance(found, type):
        yield from found.__bases__
        yield from (each for each in vars(found).values() if inspect.isfunction(each))
        return
    code = getattr(found, "__code__", None)
    if not isinstance(code, CodeType):
        return
    variables, names = found.__globals__, set(_names(code))
    for name in sorted(names & set(variables)):
        yield variables[name]
        if isinstance(variables[name], ModuleType):
            yield from (vars(variables[name])[inner] for inner in sorted(names & set(vars(variables[name]))))
    yield from (sys.modules.get(name, _Imported(name)) for name in sorted(_imported(code)))
    yield from (found.__defaults__ or ())
    yield from (found.__kwdefaults__ or {}).values()
    for cell in found.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # an unset variable of the closure
            continue


def _codes(code: CodeType) -> Iterator[CodeType]:
    """A code object and those of the functions inside it."""
    yield code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _codes(inner)


def _names(code: CodeType) -> Iterable[str]:
    return (name for each in _codes(code) for name in each.co_names)


def _imported(code: CodeType) -> set[str]:
    """The modules that a function imports when it runs."""
    return {str(i.argval) for each in _codes(code) for i in dis.get_instructions(each) if i.opname == "IMPORT_NAME"}


def _distribution(package: str, file: Path) -> str:
    """Name and version of what pip installed an importable package with, else the hash of the package's files."""
    names = _distributions(tuple(sys.path)).get(package)
    if names:
        return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in sorted(set(names)))
    return f"{package} {digest_of_package(_file_of(package) or file)}"


@functools.cache
def _distributions(_path: tuple[str, ...]) -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())
