"""English prose from the documentation shipped with Python, read from the sources without importing them.

Sources are `pydoc_data.topics` (the language reference) and the docstrings of the standard
library, both under the PSF licence. A document is one topic or one top-level module; the split
into training and held-out documents hashes its name, so that it is the same on every machine.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Split = Literal["train", "heldout"]
SKIPPED = {"test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages", "__pycache__", "antigravity"}
HELDOUT_SHARE = 10  # one document in ten
MIN_DOCSTRING = 60  # characters: shorter ones are labels, not prose


@dataclass(frozen=True)
class Document:
    """One topic or module: `name` is ``topic:assert`` or ``module:json``."""

    name: str
    text: str

    @property
    def split(self) -> Split:
        digest = hashlib.sha256(self.name.encode()).digest()
        return "heldout" if digest[0] % HELDOUT_SHARE == 0 else "train"


def documents(split: Split) -> list[Document]:
    """All prose of one split, ordered by name."""
    found = [*_topics(), *_library()]
    return sorted((d for d in found if d.split == split and d.text), key=lambda d: d.name)


def prose(text: str) -> str:
    """The paragraphs of `text` that are English prose, one line each; code and tables are omitted."""
    paragraphs = []
    for block in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        line = re.sub(r"\s+", " ", block).strip().replace("**", "")
        letters = sum(c.isalpha() or c == " " for c in line)
        if len(line) >= 30 and letters >= 0.78 * len(line) and ">>>" not in line and line.isascii():
            paragraphs.append(line)
    return "\n".join(paragraphs)


def _topics() -> Iterator[Document]:
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    for name, text in topics.items():
        yield Document(f"topic:{name}", prose(text))


def _library() -> Iterator[Document]:
    """Docstrings by top-level module: parsed from the source, or read from built-in modules."""
    root = Path(sysconfig.get_paths()["stdlib"])
    modules: dict[str, list[str]] = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if not SKIPPED.intersection(parts) and not parts[0].startswith(("config-", "_sysconfigdata")):
            modules.setdefault(parts[0], []).extend(_parsed_docstrings(path))
    for name in sys.builtin_module_names:
        modules.setdefault(name.lstrip("_"), []).extend(_live_docstrings(name))
    seen: set[str] = set()
    for name in sorted(modules):
        texts = [prose(t) for t in modules[name] if len(t) >= MIN_DOCSTRING]
        fresh = [t for t in dict.fromkeys(texts) if t and t not in seen]
        seen.update(fresh)
        yield Document(f"module:{name}", "\n".join(fresh))


def _parsed_docstrings(path: Path) -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def _live_docstrings(name: str) -> Iterator[str]:
    module = importlib.import_module(name)
    for attribute in sorted(vars(module)):
        value = getattr(module, attribute)
        yield _own_text(value)
        if inspect.isclass(value):
            members = (getattr(value, member, None) for member in sorted(vars(value)))
            yield from map(_own_text, members)


def _own_text(value: object) -> str:
    text = getattr(value, "__doc__", None)
    return text if isinstance(text, str) else ""
