"""The identity of code: a hash of what source files mean, which comments, docstrings and layout do not change."""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable, Sequence
from modulefinder import ModuleFinder
from pathlib import Path
from typing import Any


def digest(files: Iterable[Path], root: Path) -> str:
    """Hash of files by their path under `root` and their content; of Python files, by their meaning."""
    h = hashlib.sha256()
    for file in sorted(files):
        h.update(file.relative_to(root).as_posix().encode())
        h.update(meaning(file.read_bytes()).encode() if file.suffix == ".py" else file.read_bytes())
    return h.hexdigest()[:16]


def meaning(source: str | bytes) -> str:
    """The syntax tree of Python source as text, without positions, comments and strings that stand alone.

    Not `ast.dump`, whose text depends on the version of Python: it shows empty fields or leaves them out.
    """
    return repr(_plain(ast.parse(source)))


def _plain(node: Any) -> Any:
    if isinstance(node, list):
        return [_plain(each) for each in node if not _stands_alone(each)]
    if not isinstance(node, ast.AST):
        return node
    fields = [(name, _plain(value)) for name, value in ast.iter_fields(node)]
    return type(node).__name__, [(name, value) for name, value in fields if value not in (None, [])]


def _stands_alone(node: Any) -> bool:
    """Whether a statement is a string alone: a docstring, or the description of the attribute above it."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


class _Finder(ModuleFinder):
    """Takes a folder without __init__.py for no module, where modulefinder itself fails."""

    def find_module(self, name: str, path: Any, parent: Any = None) -> Any:
        try:
            return super().find_module(name, path, parent)
        except AttributeError:
            raise ImportError(name) from None


@functools.cache
def digest_with_imports(module: str, file: Path, folders: tuple[Path, ...]) -> str:
    """Hash of a module and of what it imports from `folders`, as found when it was first asked for."""
    finder = _Finder([str(folder) for folder in (*folders, file.parent)], excludes=["codesign"])
    try:
        try:
            finder.import_hook(module)
        except ImportError:  # in a folder without __init__.py
            finder.run_script(str(file))
    except (ImportError, SyntaxError):
        return _of_contents([file])
    imported = (getattr(found, "__file__", None) for found in finder.modules.values())
    return _of_contents([file, *(Path(each) for each in imported if each)])


def digest_of_file(file: Path) -> str:
    """Hash of one file by its content."""
    return _of_contents([file])


def digest_of_package(file: Path) -> str:
    """Hash of a top-level module by its file; of a package, of all its source files."""
    return _of_contents(sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file])


def _of_contents(files: Sequence[Path]) -> str:
    """Hash of the content of files, wherever they are, so that the same code has it on every machine."""
    contents = {meaning(f.read_bytes()) if f.suffix == ".py" else f.read_bytes().hex() for f in set(files)}
    return hashlib.sha256("\n".join(sorted(contents)).encode()).hexdigest()[:16]
