"""torch's own OpenMP, whose threads compute its products."""

from __future__ import annotations

import ctypes
import importlib.util
from functools import cache
from pathlib import Path

_NAMES = ("libgomp*", "libomp*", "libiomp*")


@cache
def libraries() -> tuple[ctypes.CDLL, ...]:
    """What torch brings along; empty where it uses the system's, or another make of threads."""
    spec = importlib.util.find_spec("torch")
    folders = [] if spec is None or spec.submodule_search_locations is None else spec.submodule_search_locations
    found = []
    paths = [path for folder in folders for name in _NAMES for path in sorted(Path(folder, "lib").glob(name))]
    for path in paths:
        try:
            found.append(ctypes.CDLL(str(path)))
        except OSError:
            continue
    return tuple(found)
