"""Measured results on disk, under a key that covers everything they depend on."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from codesign.errors import InputError
from codesign.files import write_atomic
from codesign.jsonio import read_json

SCHEMA = 1
# Packages that a measured quality depends on; changes to search, report and export do not invalidate it.
_PACKAGES = ("formats", "workload", "models", "quality")
# not among them: the weights that these files make and describe are part of the fingerprint
_ASIDE = ("train.py", "card.py", "card_text.py")


def deciding_sources(root: Path) -> list[Path]:
    """The source files of the package at `root` that a measured quality depends on, in a fixed order."""
    every = (file for package in _PACKAGES for file in sorted((root / package).rglob("*.py")))
    return [file for file in every if file.name not in _ASIDE]


@functools.cache
def code_version() -> str:
    """Hash of the source files that a measured quality depends on (`deciding_sources`)."""
    root = Path(__file__).resolve().parent.parent
    h = hashlib.sha256()
    for file in deciding_sources(root):
        h.update(file.relative_to(root).as_posix().encode())
        h.update(file.read_bytes())
    return h.hexdigest()[:16]


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
