"""The files of a study folder, read and checked before anything is drawn from them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codesign.errors import InputError
from codesign.files import read_text

SCHEMA_VERSION = 1
_FRONT_KEYS = (
    *("schema_version", "study", "created", "space_hash", "code_version", "seed", "objectives", "reference_point"),
    *("hypervolume", "evaluations", "front_size", "designs"),
)
_DETAILS_KEYS = ("tasks", "baselines", "chosen", "worst", "history", "hardware_count", "log10_designs", "accumulators")
_DESIGN_KEYS = ("id", "objectives", "quality", "metrics", "cost", "accelerator", "assignments", "accumulator")


@dataclass(frozen=True)
class StudyFiles:
    """front.json, details.json and examples.json of one study."""

    folder: Path
    front: dict[str, Any]
    details: dict[str, Any]
    examples: dict[str, Any]

    @property
    def designs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.front["designs"]
        return found

    @property
    def hardware(self) -> bool:
        """Whether the space gave hardware; else formats alone were searched, and every cost of a chip is nominal."""
        return bool(self.front.get("hardware_given", True))

    @property
    def measured(self) -> bool:
        """Whether the study ran networks; where their formats were given, it only priced them."""
        return any(design["quality"] for design in self.designs)

    def design(self, identifier: str) -> dict[str, Any]:
        return next(d for d in self.designs if d["id"] == identifier)


def load_study(folder: Path) -> StudyFiles:
    """Read a study folder; raises InputError with one line when it is none, or is damaged."""
    if not (folder / "front.json").exists():
        raise InputError(f"{folder}: no study here (front.json is missing)")
    front = _json(folder / "front.json")
    if not isinstance(front, dict) or front.get("schema_version") != SCHEMA_VERSION:
        found = front.get("schema_version") if isinstance(front, dict) else type(front).__name__
        raise InputError(f"{folder / 'front.json'}: schema_version is {found}, expected {SCHEMA_VERSION}")
    _require(folder / "front.json", front, _FRONT_KEYS)
    if not isinstance(front["designs"], list) or not front["designs"]:
        raise InputError(f"{folder / 'front.json'}: key 'designs' holds no design")
    for i, design in enumerate(front["designs"]):
        _require(folder / "front.json", design, _DESIGN_KEYS, f"designs[{i}].")
    details = _json(folder / "details.json")
    _require(folder / "details.json", details, _DETAILS_KEYS)
    for role in ("chosen", "worst"):
        if details[role] not in {d["id"] for d in front["designs"]} | ({None} if role == "worst" else set()):
            raise InputError(f"{folder / 'details.json'}: {role} '{details[role]}' is no design of front.json")
    return StudyFiles(folder, front, details, _json(folder / "examples.json"))


def _json(path: Path) -> Any:
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: broken JSON: {error.msg}") from None


def _require(path: Path, data: Any, keys: tuple[str, ...], prefix: str = "") -> None:
    missing = [k for k in keys if not isinstance(data, dict) or k not in data]
    if missing:
        raise InputError(f"{path}: key '{prefix}{missing[0]}' is missing")
