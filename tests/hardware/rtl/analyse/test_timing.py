"""Levels of logic of a unit: what the generator notes of its expressions against what their text says."""

from __future__ import annotations

import numpy as np
import pytest

from codesign.formats import FormatPair
from codesign.hardware.calibration.synthesis.grid import PLANNED_LEVEL_PS, grid
from codesign.hardware.rtl import Unit, build
from codesign.hardware.rtl.analyse.timing import KINDS, paths
from codesign.hardware.rtl.emit.expressions import ONE, Operation, any_of, constant, joined, replicated, zeros
from codesign.hardware.rtl.emit.verilog import Module, Net
from tests.hardware.rtl.analyse.text_timing import text_paths

UNITS = {entry.unit.name: entry.unit for entry in grid((1900.0, 950.0), PLANNED_LEVEL_PS)[::5]}
PASSING = Unit((FormatPair.parse("int8"), FormatPair.parse("fp8_e4m3")), "auto", 4, passing=True)


@pytest.mark.parametrize("unit", [*UNITS.values(), PASSING], ids=lambda unit: unit.name)
def test_what_is_noted_of_a_unit_is_what_its_text_says(unit: Unit) -> None:
    made = build(unit)
    noted, read = paths(made.assignments), text_paths(made.text)
    assert np.array_equal(noted.levels, read.levels)
    assert noted.reads == read.reads
    assert noted.ends == read.ends
    assert noted.names == read.names


def levels(module: Module) -> dict[str, float]:
    """Those of the last wire, without zeros."""
    found = paths(module.assignments).levels[-1]
    return {kind: float(count) for kind, count in zip(KINDS, found, strict=True) if count}


def test_an_adder_has_a_carry_chain_of_its_width_and_a_compressor_for_each_further_operand() -> None:
    module, nets = Module("m"), [Net(name, 8) for name in "abc"]
    module.wire(16, nets[0] + nets[1] - nets[2])
    assert levels(module) == {"adder": 1, "carry": 4, "compress": 1}


def test_one_bit_that_controls_many_has_a_fanout() -> None:
    module = Module("m")
    module.wire(8, Net("a", 8) & replicated(8, Net("b", 1)))
    assert levels(module) == {"gate": 1, "fanout": 3}


def test_wiring_takes_no_time() -> None:
    module, a = Module("m"), Net("a", 8)
    module.wire(12, joined(~a.part(7, 4), zeros(4), a.part(3, 0)))
    assert levels(module) == {}


def test_expressions_are_written_as_verilog_and_say_what_they_read() -> None:
    a, b, c = (Net(name, 4) for name in "abc")
    found = a.exceeds(b).choose(joined(c, ONE), (a + constant(3, 4)).grouped())
    assert found.text == "a > b ? {c, 1'b1} : (a + 4'h3)"
    assert found.reads == ("a", "b", "c", "a")
    assert found.operations == (Operation("compare", 8), Operation("+"), Operation("?"))
    assert any_of([a.bit(0), b.bit(1), ~c.bit(2)]).text == "a[0] | b[1] | ~c[2]"
    assert a.part(2, 1).none().operations == (Operation("reduce", 2),)


def test_a_literal_is_read_by_nobody_and_needs_no_register() -> None:
    module = Module("m")
    module.register(Net("1'b0", 1))
    assert module.parts["register"] == 0
    assert module.assignments[0].expression.reads == ()
