"""Memory types by name: DRAM, flash and codecs of stored weights, each with its rows.

Shipped ones stand in data/memories.yaml and data/compression.yaml; another is a YAML file of the same rows, and its
path, absolute, is its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from codesign.errors import InputError, nearest
from codesign.hardware.units.coefficients import Coefficient, read_data, table

_FILES = (".yaml", ".yml")


@dataclass(frozen=True)
class Dram:
    """A DRAM type, by the channel."""

    gb_per_s: Coefficient  # peak
    pj_per_bit: Coefficient  # device, interface and controller
    interface_mm2: Coefficient  # PHY and controller; analog, so taken as equal at every node
    gib_per_channel: Coefficient
    price_class: str = "not known"  # for orientation in tables; no part of any objective


@dataclass(frozen=True)
class Flash:
    """Storage behind the DRAM."""

    gb_per_s: Coefficient  # sequential read
    pj_per_bit: Coefficient


@dataclass(frozen=True)
class Codec:
    """Lossless compression of weights in DRAM and flash. ratio: by weight format, bytes before over bytes after."""

    decoder_um2: Coefficient  # of one decoder, a code per cycle, at 7 nm
    ratio: Mapping[str, Coefficient]


MemoryType = Dram | Flash | Codec
KINDS: Mapping[str, type[MemoryType]] = {"dram": Dram, "flash": Flash, "codec": Codec}


@cache
def _shipped(kind: str) -> Mapping[str, MemoryType]:
    """The types of a kind; the ratios of a codec are measured, and stand in the file that the measurement writes."""
    found: dict[str, MemoryType] = {}
    rows: dict[str, Any]
    for name, rows in read_data("memories.yaml")[kind].items():
        fields: dict[str, Any] = {k: row if isinstance(row, str) else Coefficient.of(row) for k, row in rows.items()}
        if kind == "codec":
            fields["ratio"] = table("compression.yaml", name)
        found[name] = KINDS[kind](**fields)
    return found


def dram_types() -> tuple[str, ...]:
    """Names of the DRAM types that ship with the package."""
    return tuple(_shipped("dram"))


def is_file(name: str) -> bool:
    """Whether a memory type is named by the file that describes it."""
    return name.endswith(_FILES)


def memory_type(kind: str, name: str) -> Any:
    """The Dram, Flash or Codec called `name`, or in the file of that path.

    Raises InputError on an unknown one, with the nearest, and on what is wrong in the file, with its line.
    """
    known = _shipped(kind)
    if name in known:
        return known[name]
    if not is_file(name):
        raise InputError(f"unknown {kind} '{name}'{nearest(name, known)}")
    path = Path(name)
    if not path.is_file():
        raise InputError(f"{kind}: no such file: {name}")
    return _read(kind, path, path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _read(kind: str, path: Path, changed_ns: int) -> MemoryType:
    """As the file was when it was last changed."""
    from codesign.hardware.chip.memory_files import load_rows  # with pydantic, which is slow to import

    return load_rows(path, KINDS[kind])
