"""Arrival times of a unit's gates, the kinds of logic on its longest path, and the pipeline cuts that follow."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from codesign.formats import FormatPair
from codesign.hardware.calibration.synthesis.grid import PLANNED_LEVEL_PS
from codesign.hardware.rtl import Unit, build
from codesign.hardware.rtl.analyse.elaborate import gates, unit_gates
from codesign.hardware.rtl.analyse.gates import INPUTS, LOGIC, Gates
from codesign.hardware.rtl.analyse.timing import KINDS, Paths, Steps, unit_paths
from codesign.hardware.rtl.emit.expressions import ONE, Value, any_of, constant, joined, replicated, zeros
from codesign.hardware.rtl.emit.verilog import Module, Net

PS = np.array([PLANNED_LEVEL_PS[kind] for kind in KINDS])
UNITS = [
    Unit((FormatPair.parse("int8"),), "int32", 4),
    Unit((FormatPair.parse("fp8_e4m3"),), "fp32", 4),
    Unit((FormatPair.parse("fp8_e4m3"),), "exact", 8),
    Unit((FormatPair.parse("nvfp4"),), "fp32", 16),
    Unit((FormatPair.parse("int8"), FormatPair.parse("fp8_e4m3")), "auto", 4),
    Unit((FormatPair.parse("bf16"),), "fp32", 1),
]
units = pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)


def longest(width: int, expression: Value) -> dict[str, float]:
    """The kinds of logic on the longest path of an expression into a register, without fan-out."""
    module = Module("m")
    module.register(module.wire(width, expression))
    found = Paths.of(gates(module.assignments)).longest(PS)
    return {kind: float(count) for kind, count in zip(KINDS, found, strict=True) if count and kind != "fanout"}


def test_wiring_takes_no_time() -> None:
    a = Net("a", 8)
    assert longest(12, joined(~a.part(7, 4), zeros(4), a.part(3, 0))) == {"register": 1}


def test_an_adder_has_a_carry_tree_with_two_levels_for_a_doubling_of_its_width() -> None:
    for bits in (2, 3, 4, 5):
        found = longest(1 << bits, Net("a", 1 << bits) + Net("b", 1 << bits))
        assert found["carry"] == 2 * bits - 2
        assert found["xor"] == 2  # of the lowest bits that a carry passes, and of the last bit of the sum


def test_a_further_summand_adds_a_carry_save_row() -> None:
    a, b, c = (Net(name, 8) for name in "abc")
    assert "majority" not in longest(8, a + b)
    found = longest(8, a + b + c)
    assert found.get("majority", 0) + found.get("compress", 0) >= 1


def test_a_selector_is_timed_from_its_data_and_from_its_control() -> None:
    a, b = Net("a", 4), Net("b", 4)
    assert longest(1, Net("c", 1).choose(a.bit(0), b.bit(0))) == {"register": 1, "select": 1}
    assert longest(4, (Net("c", 4).any()).choose(a, b)) == {"register": 1, "and": 2, "control": 1}


def test_a_bit_that_controls_many_is_slower_by_its_fanout() -> None:
    module = Module("m")
    module.register(module.wire(8, Net("a", 8) & replicated(8, Net("b", 1))))
    found = Paths.of(gates(module.assignments)).longest(PS)
    assert found[KINDS.index("fanout")] == 3
    assert found[KINDS.index("and")] == 1


def test_constants_and_equal_logic_take_no_time() -> None:
    a = Net("a", 8)
    assert longest(8, a + constant(0, 8)) == {"register": 1}
    assert longest(8, (a & joined(zeros(4), replicated(4, ONE))).grouped() | (a & zeros(8)).grouped()) == {
        "register": 1
    }


def slowest_path(network: Gates, ps: dict[str, float]) -> float:
    """ps of the longest path, gate by gate."""
    times: list[float] = []
    for gate in range(network.count):
        count = INPUTS.get(int(network.kind[gate]), 0)
        name = ("constant", "port", "register", "and", "xor", "select", "majority", "carry")[int(network.kind[gate])]
        kinds = {"select": ("control", "select", "select"), "carry": ("and", "carry", "carry")}.get(name, (name,) * 3)
        if name == "xor" and LOGIC[int(network.logic[gate])] == "compress":
            kinds = ("compress",) * 3
        latest = max((times[network.inputs[gate, pin] >> 1] + ps[kinds[pin]] for pin in range(count)), default=0.0)
        times.append(latest + ps["fanout"] * float(np.log2(max(1, network.fan_out[gate]))))
    return ps["register"] + max(times[bit >> 1] for bit in network.data[network.data > 0])


@units
def test_the_longest_path_is_that_of_a_walk_over_the_gates(unit: Unit) -> None:
    found = float(unit_paths(unit).longest(PS) @ PS)
    assert found == pytest.approx(slowest_path(unit_gates(unit), PLANNED_LEVEL_PS), rel=1e-5)


@units
def test_a_plan_keeps_every_stage_within_the_period_unless_a_step_is_longer(unit: Unit) -> None:
    steps = Steps.of_unit(unit)
    whole = float(unit_paths(unit).longest(PS) @ PS)
    assert steps.plan(1.001 * whole, PS).cuts == frozenset()
    shortest = float(unit_paths(unit.cut(steps.plan(1.0, PS).cuts)).longest(PS) @ PS)
    for part in (0.8, 0.6, 0.4):
        period = part * whole
        plan = steps.plan(period, PS)
        reached = float(unit_paths(unit.cut(plan.cuts)).longest(PS) @ PS)
        # registers between steps change what each gate drives, and with it a path by a few percent
        assert reached <= 1.08 * max(period, shortest)


@units
def test_a_plan_applies_to_the_range_of_periods_that_it_states(unit: Unit) -> None:
    steps = Steps.of_unit(unit)
    whole = float(unit_paths(unit).longest(PS) @ PS)
    for part in (0.35, 0.5, 0.9):
        plan = steps.plan(part * whole, PS)
        assert plan.low_ps <= part * whole < plan.high_ps
        for period in (plan.low_ps + 1e-6, min(plan.high_ps - 1e-6, 10 * whole)):
            if plan.low_ps < period < plan.high_ps:
                assert steps.plan(period, PS).cuts == plan.cuts


def test_a_shorter_period_never_takes_fewer_registers() -> None:
    for unit in UNITS:
        steps = Steps.of_unit(unit)
        counts = [len(steps.plan(period, PS).cuts) for period in (4000.0, 2000.0, 1000.0, 600.0, 300.0)]
        assert all(a <= b for a, b in itertools.pairwise(counts))


def test_expressions_are_written_as_verilog_and_say_what_they_read() -> None:
    a, b, c = (Net(name, 4) for name in "abc")
    found = a.exceeds(b).choose(joined(c, ONE), (a + constant(3, 4)).grouped())
    assert found.text == "a > b ? {c, 1'b1} : (a + 4'h3)"
    assert found.reads == ("a", "b", "c", "a")
    assert any_of([a.bit(0), b.bit(1), ~c.bit(2)]).text == "a[0] | b[1] | ~c[2]"


def test_a_literal_is_read_by_nobody_and_needs_no_register() -> None:
    module = Module("m")
    module.register(Net("1'b0", 1))
    assert gates(module.assignments).registers == 0
    assert module.assignments[0].expression.reads == ()


def test_a_single_product_is_added_without_a_tree() -> None:
    single = build(Unit((FormatPair.parse("bf16"),), "fp32", 1))
    assert not {"reduce", "sum"} & set(single.boundaries)
    assert {"reduce", "sum"} <= set(build(Unit((FormatPair.parse("bf16"),), "fp32", 4)).boundaries)
