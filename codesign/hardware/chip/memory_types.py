"""Memory types by name: DRAM, flash and codecs of stored weights.

Shipped types are in data/memories.yaml and data/compression.yaml; other types are YAML files with the same rows, named
by their absolute paths.
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
    """A DRAM type; rates and sizes are per channel."""

    gb_per_s: Coefficient  # peak
    pj_per_bit: Coefficient  # device, interface and controller
    interface_mm2: Coefficient  # PHY and controller; mostly analog, so assumed equal at every node
    gib_per_channel: Coefficient
    price_class: str = "not known"  # shown in tables; not part of any objective


@dataclass(frozen=True)
class Flash:
    """Storage behind the DRAM."""

    gb_per_s: Coefficient  # sequential read
    pj_per_bit: Coefficient


@dataclass(frozen=True)
class Codec:
    """Lossless compression of weights in DRAM and flash."""

    decoder_um2: Coefficient  # of one decoder, which decodes one code per cycle, at 7 nm
    ratio: Mapping[str, Coefficient]  # weight format -> bytes before / after compression


MemoryType = Dram | Flash | Codec
KINDS: Mapping[str, type[MemoryType]] = {"dram": Dram, "flash": Flash, "codec": Codec}


@cache
def _shipped(kind: str) -> Mapping[str, MemoryType]:
    """The shipped types of a kind; the measured ratios of codecs are in compression.yaml."""
    found: dict[str, MemoryType] = {}
    rows: dict[str, Any]
    for name, rows in read_data("memories.yaml")[kind].items():
        fields: dict[str, Any] = {k: row if isinstance(row, str) else Coefficient.of(row) for k, row in rows.items()}
        if kind == "codec":
            fields["ratio"] = table("compression.yaml", name)
        found[name] = KINDS[kind](**fields)
    return found


def type_names(kind: str) -> tuple[str, ...]:
    """Names of the shipped types of a kind: dram, flash or codec."""
    return tuple(_shipped(kind))


def dram_types() -> tuple[str, ...]:
    """Names of the shipped DRAM types."""
    return type_names("dram")


def is_file(name: str) -> bool:
    """Whether `name` is that of a file, not of a shipped memory type."""
    return name.endswith(_FILES)


def memory_type(kind: str, name: str) -> Any:
    """The Dram, Flash or Codec called `name`, or described by the file `name`.

    Raises InputError on an unknown name, with the nearest, and on an error in the file, with its line.
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
    """Read a type from a file; `changed_ns` makes the cache follow changes of the file."""
    from codesign.hardware.chip.memory_files import load_rows  # with pydantic, which is slow to import

    return load_rows(path, KINDS[kind])
