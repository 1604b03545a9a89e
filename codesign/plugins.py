"""Extensions: objects named ``python:module:name``, and entry points of installed packages."""

from __future__ import annotations

import hashlib
import importlib
import importlib.abc
import importlib.util
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from codesign.errors import InputError, nearest
from codesign.sources import digest_of_file, digest_with_imports

PREFIX = "python:"
T = TypeVar("T")


def installed(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group, by name."""
    return {point.name: point for point in entry_points(group=group)}


def installed_code(*groups: str) -> list[str]:
    """What the entry points of these groups stand for: name, version of the package, hash of the module."""
    found = []
    for group in groups:
        for name, point in installed(group).items():
            version = point.dist.version if point.dist is not None else ""
            with suppress(ImportError, ValueError):  # one that cannot be loaded decides nothing
                spec = importlib.util.find_spec(point.module)
                if spec is not None and spec.has_location and spec.origin:
                    found.append(f"{group} {name} {point.value} {version} {digest_of_file(Path(spec.origin))}")
    return sorted(found)


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
    """Within the context, modules of `folders` and then of the working folder can be imported.

    They come before installed packages, and after the standard library. A module of the same name that came from
    another folder of a user's is put aside for as long, so that each folder's modules import their own neighbours.
    """
    places = _places(folders)
    aside = _of_other_folders(places)
    finder = _Beside(places)
    added = [str(place) for place in places if str(place) not in sys.path]  # for packages without __init__.py
    sys.meta_path.insert(0, finder)
    sys.path.extend(added)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for place in set(added) & set(sys.path):
            sys.path.remove(place)
        for name in [name for name in sys.modules if _top(name) in set(map(_top, aside))]:
            del sys.modules[name]
        sys.modules.update(aside)


def _top(name: str) -> str:
    return name.partition(".")[0]


def _places(folders: Iterable[Path | None]) -> list[Path]:
    return list(dict.fromkeys(folder.resolve() for folder in (*folders, Path.cwd()) if folder is not None))


class _Beside(importlib.abc.MetaPathFinder):
    """Finds top-level modules in these folders, except where the standard library has one of that name."""

    def __init__(self, places: Sequence[Path]) -> None:
        self._places = [str(place) for place in places]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is not None or fullname in sys.stdlib_module_names:
            return None
        found = PathFinder.find_spec(fullname, self._places)
        return found if found is not None and found.has_location else None


def _of_other_folders(places: Sequence[Path]) -> dict[str, ModuleType]:
    """Take modules out of ``sys.modules`` whose names `places` hold too, if a user's other folder holds theirs."""
    held: dict[str, Path | None] = {}
    taken = {}
    for name, module in list(sys.modules.items()):
        file, top = getattr(module, "__file__", None), _top(name)
        if file is None or top in sys.stdlib_module_names | _NEVER_ASIDE or is_installed(file):
            continue
        if top not in held:
            held[top] = _file_of(top, places)
        ours = held[top]
        if ours is not None and ours.parent not in (Path(file).resolve().parent, *Path(file).resolve().parents):
            taken[name] = sys.modules.pop(name)
    return taken


@dataclass(frozen=True)
class Named:
    """The callable of a name ``python:package.module:name``, and the code that it stands for."""

    call: Callable[..., Any]
    file: Path | None  # of its module
    code: str  # hash of that file and of what it imports from its folder


def named_object(spec: str, *folders: Path | None) -> Named:
    """The callable named ``python:package.module:name``: of a module in `folders`, the working folder, or installed.

    A module of a folder is loaded under a name of its own: two folders may hold modules of one name, and a name that
    the standard library has too is no obstacle. Raises InputError with the nearest name if there is none.
    """
    module_name, _, name = spec.removeprefix(PREFIX).partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), name)):
        raise InputError(f"'{spec}': expected python:package.module:function")
    try:
        module = _module(module_name, _places(folders))
    except ImportError as error:
        raise InputError(f"'{spec}': cannot import {module_name} ({error})") from None
    found = getattr(module, name, None)
    if not callable(found):
        raise InputError(f"'{spec}': no function '{name}'{nearest(name, vars(module))}")
    file = Path(module.__file__).resolve() if module.__file__ else None
    return Named(found, file, module_code(module_name, file) if file else "")


def is_installed(file: str | Path) -> bool:
    """Whether a file is of an installed package."""
    return _INSTALLED.search(str(file)) is not None


def module_code(module: str, file: Path) -> str:
    """Hash of a module's file and of what it imports from its own folder, wherever a command was started."""
    if is_installed(file):
        return digest_of_file(file)
    depth = len(module.split(".")) - (file.name != "__init__.py")
    return digest_with_imports(module, file, (file.parents[depth],))


def _module(name: str, places: Sequence[Path]) -> ModuleType:
    """A module of the first of these folders that holds it; of none, an ordinary import."""
    for place in places:
        file = _file_of(name, [place])
        if file is None:
            continue
        known = sys.modules.get(name)
        if known is not None and known.__file__ and Path(known.__file__).resolve() == file:
            return known
        package = f"_codesign_{hashlib.sha256(str(place).encode()).hexdigest()[:12]}"
        if package not in sys.modules:
            parent = sys.modules[package] = ModuleType(package, f"Modules of the folder {place}.")
            parent.__path__ = [str(place)]
        return importlib.import_module(f"{package}.{name}")
    return importlib.import_module(name)


def _file_of(name: str, places: Sequence[Path]) -> Path | None:
    """The file of a module in the first of these folders that holds it."""
    for place in places:
        stem = place.joinpath(*name.split("."))
        for file in (stem / "__init__.py", stem.with_suffix(".py")):
            if file.is_file():
                return file.resolve()
    return None


_NEVER_ASIDE = {_top(__name__), "__main__"}
_INSTALLED = re.compile(r"[/\\](site|dist)-packages[/\\]")
