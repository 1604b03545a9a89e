"""`Accelerator`: an array of rows x columns dot-product units with SRAM and DRAM, and checks of its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, get_args, get_type_hints

import numpy as np
import numpy.typing as npt

from codesign.errors import InputError, nearest
from codesign.formats import FormatPair
from codesign.hardware.chip.axes import Axis, others
from codesign.hardware.chip.memory_types import memory_type
from codesign.hardware.units.coefficients import at_node, table
from codesign.hardware.units.mac import SINGLE_UNITS, MacUnit, check_dot
from codesign.hardware.units.unit_model import SHIPPED

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def default_vector_lanes(columns: Ints, lanes: Ints) -> Ints:
    """`lanes` [A], with 0 replaced by a default in proportion to the columns; raises InputError if one is negative."""
    if (lanes < 0).any():
        raise InputError(f"vector_lanes must be positive, not {lanes[lanes < 0][0]}")
    each = table("system.yaml", "area")["vector_lanes_per_column"].value
    return np.where(lanes > 0, lanes, np.maximum(np.round(columns * each), 1)).astype(np.int64)


def default_dram_gib(channels: Ints, drams: Sequence[str], dram: Ints, gib: Floats) -> Floats:
    """`gib` [A], with 0 replaced by a default in proportion to the channels; raises InputError if one is negative."""
    if (gib < 0).any():
        raise InputError(f"dram_gib must be positive, not {gib[gib < 0][0]:g}")
    usable = table("memory.yaml", "dram")["usable"].value
    each = np.array([memory_type("dram", name).gib_per_channel.value for name in drams])[dram]
    return np.where(gib > 0, gib, channels * each * usable)


def check_node(node_nm: float) -> None:
    """Raises InputError on a process node outside of the memory data."""
    try:
        at_node("memory.yaml", "bitcell_um2", node_nm)
    except ValueError as error:
        units = f"; {SINGLE_UNITS}" if node_nm in SHIPPED else ""
        raise InputError(f"node_nm: {error}{units}") from None


class ClockError(InputError):
    """A clock that is too fast for a unit."""


def check_clock(unit: MacUnit) -> None:
    """Raises ClockError if a pipeline step of the unit exceeds the clock period even at the low end of its delay."""
    if not unit.holds_clock:
        names = ", ".join(map(str, unit.pairs))
        delay = unit.delay_ns
        raise ClockError(
            f"clock: {unit.clock_ghz * 1e3:g} MHz is too fast for a unit of {names} (accumulator {unit.accumulator}, "
            f"dot {unit.dot}) at {unit.node_nm:g} nm, whose longest step takes {delay.value:.2f} ns "
            f"({delay.low:.2f} to {delay.high:.2f}): at most {1e3 / delay.low:.0f} MHz"
        )


@dataclass(frozen=True)
class Accelerator:
    """Parameters of one accelerator; the `Axis` of a field describes its meaning and its form in files.

    Raises InputError on an unknown name, a size that is not positive, a node without memory data, or a clock that the
    unit cannot reach.
    """

    name: str
    pairs: tuple[FormatPair, ...]  # supported by every unit
    accumulator: Annotated[str, Axis("of a unit's sums, as in `MacUnit`", usual="auto")]
    dot: Annotated[int, Axis("lanes of a unit at rate 1", usual=16)]
    rows: Annotated[int, Axis("units down the array", most=2**16)]
    columns: Annotated[int, Axis("units across the array", most=2**16)]
    sram_bytes: Annotated[int, Axis("on-chip memory", key="sram_kib", scale=1024, most=2**40)]
    dram: Annotated[str, Axis("DRAM type: its name, or the file of another", usual="lpddr5x_8533", memory="dram")]
    dram_channels: Annotated[int, Axis("channels of DRAM", usual=1, most=2**12)]
    # clock of the array, for which its units are pipelined, and of the SRAM
    clock_hz: Annotated[float, Axis("clock of array and SRAM", usual=1000.0, key="clock_mhz", scale=1e6, most=20e9)]
    node_nm: Annotated[float, Axis("process node", usual=7.0, most=1000)]
    unit_model: str = ""  # as in `MacUnit`
    vector_lanes: Annotated[
        int, Axis("of the bf16 vector unit", usual=0, zero="in proportion to the columns", most=2**20)
    ] = 0
    dram_gib: Annotated[
        float, Axis("DRAM for networks", usual=0.0, zero="in proportion to the channels", most=2**20)
    ] = 0.0
    # weights that do not fit the DRAM are streamed from flash
    flash: Annotated[str, Axis("behind the DRAM; empty: none", usual="", memory="flash")] = ""
    codec: Annotated[str, Axis("of weights in DRAM and flash; empty: none", usual="", memory="codec")] = ""
    others: tuple[tuple[str, float], ...] = ()  # values of axes of other packages that differ from the usual ones

    def __post_init__(self) -> None:
        try:
            for axis in AXES.values():
                check_value(axis, getattr(self, axis.name))
            for name, value in self.others:
                check_value(axis_named(name), value)
            unit = self.unit
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
        """The dot-product unit of the array."""
        return MacUnit(
            tuple(self.pairs), self.accumulator, self.dot, self.node_nm, self.clock_hz / 1e9, self.unit_model
        )

    @property
    def reached_hz(self) -> float:
        """The clock that it runs at, see `MacUnit.reached_ghz`."""
        return min(self.clock_hz, 1e9 / self.unit.delay_ns.value)

    @property
    def clock_text(self) -> str:
        """Its clock in MHz, and what it runs at if the unit misses that."""
        asked = f"{self.clock_hz / 1e6:g} MHz"
        if self.reached_hz == self.clock_hz:
            return asked
        return f"{self.reached_hz / 1e6:.0f} MHz ({asked} asked for, which the longest step of the unit misses)"

    def to_dict(self) -> dict[str, object]:
        """JSON form; inverse of `from_dict`."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        found |= {"pairs": [str(pair) for pair in self.pairs], "others": dict(self.others)}
        return {key: value for key, value in found.items() if value or key not in ("unit_model", "others")}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Accelerator:
        """The accelerator of a JSON form, as `to_dict` gives it."""
        pairs = tuple(FormatPair.parse(pair) for pair in data["pairs"])
        return cls(**{**data, "pairs": pairs, "others": tuple(sorted(data.get("others", {}).items()))})


def _own_axes() -> dict[str, Axis]:
    """The axes of the fields of `Accelerator` in the order of a grid: the clock last, since units depend on it too."""
    hints = get_type_hints(Accelerator, include_extras=True)
    found: dict[str, Axis] = {}
    for field in fields(Accelerator):
        kind, *notes = get_args(hints[field.name]) or (None,)
        for axis in (note for note in notes if isinstance(note, Axis)):
            default = None if field.default is MISSING else field.default
            found[field.name] = replace(axis, name=field.name, kind=kind, default=default)
    clock = found.pop("clock_hz")
    return found | {"clock_hz": clock}


AXES: Mapping[str, Axis] = MappingProxyType(_own_axes())


@cache
def all_axes() -> Mapping[str, Axis]:
    """AXES and the axes of installed packages (except names in AXES); the clock last."""
    added = {name: replace(axis, name=name, default=axis.usual) for name, axis in others().items() if name not in AXES}
    own = dict(AXES)
    clock = own.pop("clock_hz")
    return MappingProxyType(own | added | {"clock_hz": clock})


def axis_named(name: str) -> Axis:
    """The axis called `name`; raises InputError with the nearest name if it is unknown."""
    if name not in all_axes():
        raise InputError(f"unknown hardware axis '{name}'{nearest(name, all_axes())}")
    return all_axes()[name]


def check_value(axis: Axis, value: float | str) -> None:
    """Raises InputError on a number out of range or an unknown memory type."""
    if not isinstance(value, str):
        axis.check(value)
        if axis.name == "dot":
            check_dot(value)
        if axis.name == "node_nm":
            check_node(value)
    elif axis.memory and value != axis.default:
        memory_type(axis.memory, value)
