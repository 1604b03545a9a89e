"""`Accelerator`: rows x columns of dot-product units with SRAM and DRAM, and what its sizes and names may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from codesign.errors import InputError, nearest
from codesign.formats import FormatPair
from codesign.hardware.units.coefficients import at_node, table
from codesign.hardware.units.mac import MacUnit

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_SIZES = ("rows", "columns", "sram_bytes", "dram_channels", "clock_hz")
FLASHES = ("", "ufs3.1", "ufs4.0")  # behind the DRAM; the first of each is none
CODECS = ("", "huffman", "bitmap")  # of weights in DRAM and flash


def dram_types() -> tuple[str, ...]:
    """Names of the DRAM types that the model knows."""
    return tuple(table("memory.yaml", "dram_gb_per_s"))


def default_vector_lanes(columns: Ints, lanes: Ints) -> Ints:
    """`lanes`, in proportion to the columns where they are 0; raises InputError where they are negative."""
    if (lanes < 0).any():
        raise InputError(f"vector_lanes must be positive, not {lanes[lanes < 0][0]}")
    each = table("system.yaml", "area")["vector_lanes_per_column"].value
    return np.where(lanes > 0, lanes, np.maximum(np.round(columns * each), 1)).astype(np.int64)


def default_dram_gib(channels: Ints, drams: Sequence[str], dram: Ints, gib: Floats) -> Floats:
    """`gib`, in proportion to the channels where it is 0; raises InputError where it is negative."""
    if (gib < 0).any():
        raise InputError(f"dram_gib must be positive, not {gib[gib < 0][0]:g}")
    usable = table("memory.yaml", "dram")["usable"].value
    each = np.array([table("memory.yaml", "dram_gib_per_channel")[name].value for name in drams])[dram]
    return np.where(gib > 0, gib, channels * each * usable)


def check_name(key: str, name: str, known: Sequence[str]) -> None:
    """Raises InputError on a name that is not known, with the nearest one."""
    if name not in known:
        raise InputError(f"unknown {key} '{name}'{nearest(name, [n for n in known if n])}")


def check_node(node_nm: float) -> None:
    """Raises InputError on a node that memories have no figures for."""
    try:
        at_node("memory.yaml", "bitcell_um2", node_nm)
    except ValueError as error:
        raise InputError(f"node_nm: {error}") from None


def check_clock(unit: MacUnit) -> None:
    """Raises InputError where a step of the unit surely takes longer than its clock, however it is cut."""
    if not unit.holds_clock:
        names = ", ".join(map(str, unit.pairs))
        delay = unit.delay_ns
        raise InputError(
            f"clock: {unit.clock_ghz * 1e3:g} MHz is too fast for a unit of {names} (accumulator {unit.accumulator}, "
            f"dot {unit.dot}) at {unit.node_nm:g} nm, whose longest step takes {delay.value:.2f} ns "
            f"({delay.low:.2f} to {delay.high:.2f}): at most {1e3 / delay.low:.0f} MHz"
        )


@dataclass(frozen=True)
class Accelerator:
    """One parametric chip.

    pairs: format pairs that every unit runs; accumulator, dot, node_nm: as in `MacUnit`;
    rows x columns: units in the array; sram_bytes: on-chip memory; dram, dram_channels: type and
    count of channels; clock_hz: of the array, which its units are cut for, and the SRAM; unit_model: as in
    `MacUnit`; vector_lanes: of the bf16 vector unit, in proportion to the columns where it is 0; dram_gib: DRAM
    that networks may take, in proportion to the channels where it is 0; flash: one of FLASHES, from which weights
    stream that find no place there; codec: one of CODECS, which weights in DRAM and flash are compressed with.
    Raises InputError on an unknown name, a size that is not positive, a node without memories,
    and a clock that the unit cannot hold.
    """

    name: str
    pairs: tuple[FormatPair, ...]
    accumulator: str
    dot: int
    rows: int
    columns: int
    sram_bytes: int
    dram: str
    dram_channels: int
    clock_hz: float
    node_nm: float
    unit_model: str = ""
    vector_lanes: int = 0
    dram_gib: float = 0.0
    flash: str = ""
    codec: str = ""

    def __post_init__(self) -> None:
        for key in _SIZES:
            if not getattr(self, key) > 0:
                raise InputError(f"accelerator {self.name}: {key} must be positive, not {getattr(self, key)}")
        unit = self.unit
        try:
            for key, known in (("dram", dram_types()), ("flash", FLASHES), ("codec", CODECS)):
                check_name(key, getattr(self, key), known)
            check_node(self.node_nm)
            check_clock(unit)
            lanes = default_vector_lanes(np.array([self.columns]), np.array([self.vector_lanes]))
            channels, first = np.array([self.dram_channels]), np.array([0])
            gib = default_dram_gib(channels, (self.dram,), first, np.array([self.dram_gib], dtype=np.float64))
        except InputError as error:
            raise InputError(f"accelerator {self.name}: {error}") from None
        object.__setattr__(self, "pairs", unit.pairs)
        object.__setattr__(self, "vector_lanes", int(lanes[0]))
        object.__setattr__(self, "dram_gib", float(gib[0]))

    @property
    def unit(self) -> MacUnit:
        """The dot-product unit of which the array has rows x columns."""
        return MacUnit(
            tuple(self.pairs), self.accumulator, self.dot, self.node_nm, self.clock_hz / 1e9, self.unit_model
        )

    def to_dict(self) -> dict[str, object]:
        """JSON form, the fields of the contract; inverse of `from_dict`."""
        fields = {key: getattr(self, key) for key in self.__dataclass_fields__ if key != "unit_model"}
        own = {"unit_model": self.unit_model} if self.unit_model else {}
        return fields | {"pairs": [str(pair) for pair in self.pairs]} | own

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Accelerator:
        return cls(**(data | {"pairs": tuple(FormatPair.parse(pair) for pair in data["pairs"])}))
