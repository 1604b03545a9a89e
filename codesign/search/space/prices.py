"""The identity of the cost model: a hash of all code and data that prices a design."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from codesign.formats.table import GROUP as FORMATS
from codesign.hardware.chip.axes import GROUP as AXES
from codesign.plugins import installed_code
from codesign.search.space.cost_metrics import GROUP as OBJECTIVES
from codesign.sources import digest

_PACKAGES = (
    *("formats", "workload"),
    *(f"hardware/{part}" for part in ("arithmetic", "chip", "schedule", "units", "rtl/emit", "rtl/analyse")),
)
_FILES = (
    *("hardware/rtl/verify/codes.py", "search/space/cost_metrics.py", "search/space/objectives.py"),
    *("search/engine/combiner.py", "search/engine/costs.py"),
)
_NO_PRICES = ("mac_units_", "role")  # what models of units were fitted to; roles of layers


def pricing_sources(root: Path) -> list[Path]:
    """The files of the package at `root` that the price of a design depends on: code, and tables of data."""
    every = [file for package in _PACKAGES for file in (root / package).rglob("*.py")]
    every += [root / file for file in _FILES]
    every += [file for file in (root / "hardware" / "data").iterdir() if file.is_file()]
    every += (root / "workload").glob("*.yaml")
    return sorted(file for file in every if not file.name.startswith(_NO_PRICES))


@functools.cache
def cost_version() -> str:
    """Hash of the cost model (`pricing_sources`), and of formats, axes and objectives of installed packages.

    Comments and docstrings of code do not change it. Files that a space names are part of its own hash.
    """
    root = Path(__file__).resolve().parents[2]
    parts = [digest(pricing_sources(root), root), *installed_code(FORMATS, AXES, OBJECTIVES)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
