"""Measured results on disk, under a key that covers everything they depend on."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codesign.errors import InputError
from codesign.files import write_atomic
from codesign.formats.table import GROUP as FORMATS
from codesign.jsonio import read_json
from codesign.plugins import installed_code
from codesign.sources import digest

if TYPE_CHECKING:
    from codesign.models.task import Task

SCHEMA = 1
# what a measured quality depends on, besides the code of its task; search, report, export and hardware are not
_PACKAGES = ("formats", "quality")
_TUNING = "tuning"  # of quality: it makes weights, which a result depends on by their values
_MODELS = ("__init__", "batches", "custom", "distances", "losses", "streaming", "task", "user_task")
_WORKLOAD = (
    *("attention", "completeness", "composite", "einsum", "functions"),
    *("intercept", "naming", "product", "rooms", "shapes", "tracing", "types"),
)


def deciding_sources(root: Path) -> list[Path]:
    """The source files of the package at `root` that every measured quality depends on, in a fixed order."""
    every = [file for package in _PACKAGES for file in _files(root / package)]
    every += [root / "models" / f"{name}.py" for name in _MODELS]
    return every + [root / "workload" / f"{name}.py" for name in _WORKLOAD]


def _files(package: Path) -> list[Path]:
    return [file for file in sorted(package.rglob("*.py")) if _TUNING not in file.relative_to(package).parts]


@functools.cache
def code_version() -> str:
    """Hash of the code that measures (`deciding_sources`), and of the number formats of installed packages.

    Comments, docstrings and layout do not change it. The code of a task is `Task.code`.
    """
    root = Path(__file__).resolve().parent.parent
    parts = [digest(deciding_sources(root), root), *installed_code(FORMATS)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def identity_of(task: Task) -> dict[str, str]:
    """What every measurement of a task depends on: its network, data and seed, and the code that measures."""
    from torch import __version__

    return {
        "task": task.name,
        "fingerprint": task.fingerprint(),
        "code": code_version(),
        "task_code": task.code,
        "torch": str(__version__),
    }


class ResultCache:
    """One JSON file per (identity, assignment digest, kind of result).

    The file repeats the whole key. An entry whose stored key differs from the requested one, or whose checksum does
    not match, counts as absent: a renamed, copied or hand-edited file is never used.
    """

    def __init__(self, folder: Path, identity: dict[str, str]) -> None:
        self.folder = folder
        self.identity = identity  # names network, data, seed and code version
        self.refused = 0  # entries that were unreadable or did not match

    def _path(self, digest: str, kind: str) -> Path:
        text = json.dumps([SCHEMA, self.identity, digest, kind], sort_keys=True)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"

    def get(self, digest: str, kind: str) -> Any | None:
        """The stored result; None if there is no valid one."""
        path = self._path(digest, kind)
        try:
            if not path.exists():
                return None
            entry = read_json(path)
        except InputError:
            self.refused += 1
            return None
        key = {"schema": SCHEMA, "identity": self.identity, "assignment": digest, "kind": kind}
        if not isinstance(entry, dict) or entry.get("key") != key or entry.get("sum") != _sum(entry.get("result")):
            self.refused += 1
            return None
        return entry["result"]

    def put(self, digest: str, kind: str, result: Any) -> None:
        """Store `result` (JSON types) atomically: after a crash there is the old entry or none."""
        key = {"schema": SCHEMA, "identity": self.identity, "assignment": digest, "kind": kind}
        write_atomic(self._path(digest, kind), json.dumps({"key": key, "result": result, "sum": _sum(result)}))


def _sum(result: Any) -> str:
    return hashlib.sha256(json.dumps(result, sort_keys=True).encode()).hexdigest()[:16]
