"""A cell library read from Liberty files: areas, capacitances, leakage, energies and boolean functions.

Units after reading: capacitance fF, energy fJ, leakage nW, time ps, area um2. Energy in Liberty's ``internal_power``
tables is in capacitive_load_unit x voltage_unit^2 (Liberty User Guide, "Modeling power"): 1 fJ in ASAP7, 1 pJ in
sg13g2. Tables that differ in ``related_pg_pin`` are added. In ASAP7 the tables of VDD and VSS are nearly equal over a
cycle, so that a sum might count twice, but an estimate supports the sum: BUFx2 minus INVx1 and INVx2 then leaves 0.45
fJ for its internal net, whose pin capacitance needs 0.43 to 0.58 fJ at 0.7 V; one supply alone leaves 0.23 fJ. (The
first stage of BUFx2 is assumed to be as large as INVx1.)
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import isnan, nan
from pathlib import Path

from codesign.errors import InputError
from codesign.hardware.calibration.liberty.logic import BooleanExpression, parse_expression
from codesign.hardware.calibration.liberty.merged import write_merged
from codesign.hardware.calibration.liberty.power_tables import mean, pin_energies
from codesign.hardware.calibration.liberty.text import CAPACITANCES, Group, Parser, library_units, outline

__all__ = ["Cell", "FlipFlop", "Library", "read_liberty", "write_merged"]

_SCALE = {"f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3}
_LOAD = re.compile(r"([\d.e+-]+),([fpn])f", re.I)
_LEAKAGE = "1nW"  # assumed where a library states none
_MEMORY = ("ff", "latch", "ff_bank", "latch_bank", "statetable")
_INVERTER, _BUFFER, _NAND, _NOR = (1, 0), (0, 1), (1, 1, 1, 0), (1, 0, 0, 0)
_MAJORITY, _PARITY = (0, 0, 0, 1, 0, 1, 1, 1), (0, 1, 1, 0, 1, 0, 0, 1)


@dataclass(frozen=True)
class FlipFlop:
    """The edge-triggered state of a cell: ``state`` becomes ``next_state`` when ``clocked_on`` becomes true."""

    state: str
    inverse: str
    clocked_on: BooleanExpression
    next_state: BooleanExpression
    clear: BooleanExpression | None
    preset: BooleanExpression | None
    timing: tuple[Group, ...] = field(repr=False, compare=False, default=())
    setup: tuple[Group, ...] = field(repr=False, compare=False, default=())

    @property
    def clock(self) -> str:
        return self.clocked_on.inputs[0]

    @property
    def rising(self) -> bool:
        return self.clocked_on.kind == "var"

    @property
    def plain(self) -> bool:
        """Whether it stores a data pin or its complement, as required by yosys `dfflibmap`."""
        inner = self.next_state.operands[0] if self.next_state.kind == "not" else self.next_state
        return inner.kind == "var" and len(self.clocked_on.inputs) == 1


@dataclass(frozen=True)
class Cell:
    """One library cell."""

    name: str
    area_um2: float
    leakage_nw: float
    inputs_ff: dict[str, float]  # input pin -> capacitance; NaN only in cells that no unit is built of
    functions: dict[str, BooleanExpression]  # output pin -> function
    # pin -> internal energy per toggle (mean of rise and fall, at the centre of the table): outputs; of a flip-flop
    # also data pins and the clock pin with a constant output. The energy of a flip-flop's output is what a change adds
    # to the clock edge that causes it.
    internal_fj: dict[str, float]
    ff: FlipFlop | None
    latch: bool
    dont_use: bool

    @property
    def combinational(self) -> bool:
        return self.ff is None and not self.latch and bool(self.functions)

    def tables(self) -> dict[str, tuple[int, ...]]:
        """Output pin -> truth table over all inputs in order; only for small combinational cells."""
        return {pin: function.truth_table(tuple(self.inputs_ff)) for pin, function in self.functions.items()}

    @property
    def full_adder(self) -> bool:
        if not self.combinational or len(self.functions) != 2 or len(self.inputs_ff) != 3:
            return False
        sums, carries = ({table, tuple(1 - bit for bit in table)} for table in (_PARITY, _MAJORITY))
        one, other = self.tables().values()
        return (one in sums and other in carries) or (one in carries and other in sums)


@dataclass(frozen=True)
class Library:
    """The cells of a library at one process corner."""

    name: str
    sha256: str  # of the texts of all files, in the given order
    voltage_v: float
    cells: dict[str, Cell]
    paths: tuple[Path, ...]
    time_ps: float  # time unit of the library
    load_ff: float  # capacitance unit of the library
    assumed: tuple[str, ...] = ()  # what the files leave open, and how it was read

    @cached_property
    def full_adders(self) -> tuple[str, ...]:
        """Full-adder cells, which have two outputs; abc maps to single-output cells only, so units use none."""
        return tuple(name for name, cell in self.cells.items() if cell.full_adder)

    @cached_property
    def inverter(self) -> Cell:
        """The smallest inverter."""
        return min(self._with_table(1, _INVERTER), key=lambda cell: cell.area_um2)

    @cached_property
    def flip_flop(self) -> Cell:
        """The flip-flop that yosys `dfflibmap` chooses for a plain rising-edge one: fewest pins, then smallest area.

        If all have set or reset, it chooses one of them and ties that pin.
        """
        ranked = [
            ((cell.ff.clear is not None) + (cell.ff.preset is not None), pins, cell.area_um2, name)
            for name, cell in self.cells.items()
            if cell.ff is not None and cell.ff.plain and cell.ff.rising and not cell.dont_use
            for pins in (len(cell.inputs_ff) + len(cell.functions),)
        ]
        return self.cells[min(ranked)[-1]]

    @property
    def has_internal_power(self) -> bool:
        """Whether the library has internal power tables; without them, the internal energy of cells is missing."""
        return any(any(cell.internal_fj.values()) for cell in self.cells.values())

    def _with_table(self, inputs: int, *tables: tuple[int, ...]) -> list[Cell]:
        return [
            cell
            for cell in self.cells.values()
            if cell.combinational
            and not cell.dont_use
            and len(cell.inputs_ff) == inputs
            and len(cell.functions) == 1
            and next(iter(cell.tables().values())) in tables
        ]

    def check(self) -> None:
        """Raise InputError, naming what is missing, if units cannot be synthesised with this library."""
        where = str(self.paths[0]) if len(self.paths) == 1 else f"{self.paths[0]} and {len(self.paths) - 1} more"
        if not self.cells:
            raise InputError(f"{where}: no cells")
        if not any(cell.area_um2 > 0 for cell in self.cells.values()):
            raise InputError(f"{where}: no cell has an area; take a library of cells with 'area' in um2")
        for cell in self.cells.values():
            if cell.area_um2 <= 0 and cell.inputs_ff and (cell.combinational or cell.ff) and not cell.dont_use:
                raise InputError(f"{where}: cell {cell.name} has no area: synthesis would take it for nothing")
        if not any(c.ff and c.ff.plain and c.ff.rising and not c.dont_use for c in self.cells.values()):
            advice = "if the library ships in several files, name all of them"
            raise InputError(f"{where}: no flip-flop that takes its data pin on a rising clock edge; {advice}")
        if not self._with_table(1, _INVERTER):
            raise InputError(f"{where}: no inverter; if the library ships in several files, name all of them")
        if not self._with_table(2, _NAND, _NOR):
            message = "no two-input NAND or NOR; if the library ships in several files, name all of them"
            raise InputError(f"{where}: {message}")
        if not self._with_table(1, _BUFFER):
            advice = "abc maps no unit without one; if the library ships in several files, name all of them"
            raise InputError(f"{where}: no buffer (one input, function: the input): {advice}")


def read_liberty(*paths: str | Path) -> Library:
    """Read a library from one file, or from several files that each contain some of its cells; gzip is supported.

    Raises InputError (file and line where known) for a file that is missing, not Liberty or truncated, for files
    whose units or voltages differ, for a cell with an input pin of unknown capacitance, and for a library that cannot
    build a unit: no area, flip-flop, inverter, NAND or buffer.
    """
    if not paths:
        raise InputError("no Liberty file given")
    digest = hashlib.sha256()
    cells: dict[str, Cell] = {}
    first: tuple[Group, _Units] | None = None
    for path in map(Path, paths):
        parser, header, inner = outline(path)
        digest.update(parser.text.encode("utf-8"))
        if "include_file" in header.complex:
            name = header.complex["include_file"]
            raise InputError(f"{path}: include_file ({name}): included files are not read; put its text in their place")
        units = _Units.of(header, inner, parser)
        if first is None:
            first = header, units
        elif library_units(header) != library_units(first[0]) or units.voltage_v != first[1].voltage_v:
            raise InputError(f"{path}: its units or its voltage differ from those of {paths[0]}")
        for group, _ in inner:
            if group.kind == "cell" and group.arguments and group.arguments[0] not in cells:
                cells[group.arguments[0]] = _read_cell(parser, group.offset, units)
    assert first is not None
    header, units = first
    library = Library(
        name=header.arguments[0],
        sha256=digest.hexdigest(),
        voltage_v=units.voltage_v,
        cells=cells,
        paths=tuple(map(Path, paths)),
        time_ps=units.time_ps,
        load_ff=units.load_ff,
        assumed=_assumed(header, cells),
    )
    library.check()
    return library


@dataclass(frozen=True)
class _Units:
    """The units of the library's numbers."""

    time_ps: float
    load_ff: float
    leakage_nw: float
    energy_fj: float
    voltage_v: float
    default_input: float | None  # capacitance of an input pin that gives none

    @classmethod
    def of(cls, header: Group, inner: list[tuple[Group, int]], parser: Parser) -> _Units:
        attributes = header.attributes
        load = _LOAD.fullmatch(library_units(header)["capacitive_load_unit"])
        if load is None:
            raise parser.error(header.offset, "no capacitive_load_unit such as (1,ff)")
        load_ff = float(load[1]) * _SCALE[load[2].lower()] / 1e-15
        volt = _quantity(attributes.get("voltage_unit", "1V"), "V", header, parser)
        leakage = _quantity(attributes.get("leakage_power_unit", _LEAKAGE), "W", header, parser)
        time = _quantity(attributes.get("time_unit", "1ns"), "s", header, parser)  # ns is Liberty's default
        voltage, default_input = attributes.get("nom_voltage"), attributes.get("default_input_pin_cap")
        for group, _ in inner:
            if group.kind == "operating_conditions":
                wanted = attributes.get("default_operating_conditions", "")
                if wanted in ("", *group.arguments):
                    voltage = parser.group(group.offset, set()).attributes.get("voltage", voltage)
        if voltage is None:
            raise parser.error(header.offset, "no nom_voltage and no operating_conditions with a voltage")
        return cls(
            time_ps=time / 1e-12,
            load_ff=load_ff,
            leakage_nw=leakage / 1e-9,
            energy_fj=load_ff * volt**2,
            voltage_v=_number(voltage, header, parser) * volt,
            default_input=None if default_input is None else _number(default_input, header, parser),
        )


def _assumed(header: Group, cells: Mapping[str, Cell]) -> tuple[str, ...]:
    if "leakage_power_unit" in header.attributes or not any(cell.leakage_nw for cell in cells.values()):
        return ()
    return (f"no leakage_power_unit, for which Liberty has no default: leakage is read in {_LEAKAGE}",)


def _quantity(text: str, unit: str, group: Group, parser: Parser) -> float:
    match = re.fullmatch(rf"\s*([\d.]+)?\s*([fpnumk]?){unit}\s*", text, re.I)
    if match is None:
        raise parser.error(group.offset, f"{text!r} is not a unit in {unit}")
    return float(match[1] or 1) * _SCALE[match[2].lower()]


def _number(text: str, group: Group, parser: Parser) -> float:
    try:
        return float(text.split("/*")[0])
    except ValueError:
        raise parser.error(group.offset, f"{text!r} in {group.kind} is not a number") from None


def _true(group: Group, attribute: str) -> bool:
    return group.attributes.get(attribute, "false").lower() == "true"


def _read_cell(parser: Parser, offset: int, units: _Units) -> Cell:
    cell = parser.group(offset, {"test_cell", "receiver_capacitance", "pg_pin", "timing"})
    sequential = cell.first(*_MEMORY) is not None
    if cell.first("ff") is not None:  # only delays of flip-flops are read here; abc reads those of gates
        cell = parser.group(offset, {"test_cell", "receiver_capacitance", "pg_pin"})
    pins = [(name, pin) for pin in cell.all("pin") for name in pin.arguments]
    functions = {
        name: _function(pin.attributes["function"], pin, parser)
        for name, pin in pins
        if pin.attributes.get("direction") == "output" and "function" in pin.attributes
    }
    ff = _flip_flop(cell, pins, parser)
    latch = ff is None and (sequential or "clock_gating_integrated_cell" in cell.attributes)
    dont_use = _true(cell, "dont_use") or any("three_state" in pin.attributes for _, pin in pins)
    inputs = {
        name: _capacitance(pin, parser, units) for name, pin in pins if pin.attributes.get("direction") == "input"
    }
    missing = next((name for name, capacitance in inputs.items() if isnan(capacitance)), None)
    if missing is not None and functions and not (latch or dont_use):  # no unit is built of the others
        raise parser.error(
            dict(pins)[missing].offset,
            f"pin {missing} of cell {cell.arguments[0]} has no capacitance, and the library no default_input_pin_cap",
        )
    return Cell(
        name=cell.arguments[0],
        area_um2=_number(cell.attributes.get("area", "0"), cell, parser),
        leakage_nw=_leakage(cell, parser) * units.leakage_nw,
        inputs_ff=inputs,
        functions=functions,
        internal_fj={
            name: energy * units.energy_fj
            for name, energy in pin_energies(pins, ff.clock if ff else None, ff is None or ff.rising).items()
        },
        ff=ff,
        latch=latch,
        dont_use=dont_use,
    )


def _function(text: str, group: Group, parser: Parser) -> BooleanExpression:
    try:
        return parse_expression(text)
    except ValueError as error:
        raise parser.error(group.offset, str(error)) from None


def _capacitance(pin: Group, parser: Parser, units: _Units) -> float:
    """Of an input pin, in fF; NaN if neither the pin nor the library gives one."""
    first, *others = CAPACITANCES
    given = [pin.attributes[key] for key in (first,) if key in pin.attributes] or [
        pin.attributes[key] for key in others if key in pin.attributes
    ]
    default = nan if units.default_input is None else units.default_input
    values = [_number(text, pin, parser) for text in given] or [default]
    return sum(values) / len(values) * units.load_ff


def _leakage(cell: Group, parser: Parser) -> float:
    """``cell_leakage_power`` if given; else the mean over the states, summed over the supplies."""
    if "cell_leakage_power" in cell.attributes:
        return _number(cell.attributes["cell_leakage_power"], cell, parser)
    supplies: dict[str, list[Group]] = {}
    for group in cell.all("leakage_power"):
        supplies.setdefault(group.attributes.get("related_pg_pin", ""), []).append(group)
    total = 0.0
    for groups in supplies.values():
        overall = [group for group in groups if "when" not in group.attributes] or groups
        total += mean(_number(group.attributes.get("value", "0"), group, parser) for group in overall)
    return total


def _flip_flop(cell: Group, pins: list[tuple[str, Group]], parser: Parser) -> FlipFlop | None:
    group = cell.first("ff")
    if group is None or len(group.arguments) != 2 or not {"clocked_on", "next_state"} <= set(group.attributes):
        return None
    if "clocked_on_also" in group.attributes or cell.first("latch") is not None:
        return None
    clocked_on = _function(group.attributes["clocked_on"], group, parser)
    if len(clocked_on.inputs) != 1:
        return None
    clear, preset = (
        _function(group.attributes[key], group, parser) if key in group.attributes else None
        for key in ("clear", "preset")
    )
    clock = clocked_on.inputs[0]
    next_state = _function(group.attributes["next_state"], group, parser)
    arcs = [
        (name, arc) for name, pin in pins for arc in pin.all("timing") if arc.attributes.get("related_pin") == clock
    ]
    return FlipFlop(
        *group.arguments,
        clocked_on=clocked_on,
        next_state=next_state,
        clear=clear,
        preset=preset,
        timing=tuple(arc for _, arc in arcs if arc.attributes.get("timing_type", "").endswith("_edge")),
        setup=tuple(
            arc
            for name, arc in arcs
            if arc.attributes.get("timing_type", "").startswith("setup_") and name in next_state.inputs
        ),
    )
