"""Gates of a unit: they compute what the unit's Verilog computes, and toggle as counted by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from codesign.formats import FormatPair
from codesign.hardware.rtl import Unit, build
from codesign.hardware.rtl.analyse import events
from codesign.hardware.rtl.analyse.elaborate import gates, unit_gates
from codesign.hardware.rtl.analyse.gates import LOGIC, REGISTER, Gates
from codesign.hardware.rtl.analyse.toggles import settle, toggles
from codesign.hardware.rtl.emit.expressions import Expression, constant
from codesign.hardware.rtl.emit.verilog import Module, Net
from codesign.hardware.rtl.verify.vectors import twin_of
from codesign.hardware.units.operand_streams import port_words
from codesign.hardware.units.switching import switching

Words = npt.NDArray[np.uint64]
CYCLES, STREAMS = 24, 64
UNITS = [
    Unit((FormatPair.parse("int8"),), "int32", 4),
    Unit((FormatPair.parse("int4_g32:int8"),), "fp32", 2),
    Unit((FormatPair.parse("fp8_e4m3"),), "exact", 4, frozenset({"multiply"})),
    Unit((FormatPair.parse("fp8_e5m2"),), "fp32", 2, frozenset({"align", "fp_add"})),
    Unit((FormatPair.parse("mxfp4"),), "fp32", 4),
    Unit((FormatPair.parse("lns6_i3f2"),), "fp32", 1),
    Unit((FormatPair.parse("nf4:int8"),), "auto", 2),
    Unit((FormatPair.parse("int4"),), "int16_sat", 4),
]
SHARED = Unit(tuple(map(FormatPair.parse, ("int8", "fp8_e4m3", "int4"))), "auto", 4, rates=(1, 1, 4))


def integers(bits: Words) -> npt.NDArray[np.int64]:
    """[cycles, width, 1 word] as unsigned numbers [cycles, streams]."""
    raw = np.unpackbits(np.ascontiguousarray(bits).view(np.uint8), axis=-1, bitorder="little").astype(np.int64)
    return np.asarray((raw << np.arange(raw.shape[1])[:, None]).sum(axis=1))


def codes(ports: dict[str, Words], port: str, bits: int, count: int, signed: bool) -> npt.NDArray[np.int64]:
    """Codes of a port, [cycles, count, streams]."""
    found = np.stack([integers(ports[port][:, i * bits : (i + 1) * bits]) for i in range(count)], axis=1)
    return np.where(found >> (bits - 1) & 1, found - (1 << bits), found) if signed else found


def outputs(network: Gates, values: Words, name: str) -> Words:
    literals = np.array(network.names[name])
    return np.asarray(values[:, :, literals >> 1] ^ events.INVERT[literals & 1]).transpose(0, 2, 1)


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "numpy"])
@pytest.mark.parametrize(
    ("unit", "mode"),
    [*((unit, 0) for unit in UNITS), *((SHARED, mode) for mode in range(3))],
    ids=lambda what: what.name if isinstance(what, Unit) else str(what),  # not str: a set has another order each time
)
def test_the_gates_compute_what_the_twin_does(
    unit: Unit, mode: int, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiled:
        monkeypatch.setattr(events, "loops", lambda: None)
    ports = port_words(unit, mode, CYCLES, STREAMS, ("noise",))
    network, found, made = unit_gates(unit), unit.modes[mode], build(unit)
    result = outputs(network, settle(network, ports), next(name for name in network.names if name.startswith("acc_")))
    sides = {"w": found.weight, "a": found.activation}
    operands = [codes(ports, p, side.bits, found.products, side.is_integer) for p, side in sides.items()]
    scales = [
        None if side.scale is None else codes(ports, f"{p}s", side.scale.bits, unit.scales(found, which), False)
        for (p, side), which in zip(sides.items(), ("weight", "activation"), strict=True)
    ]
    first = integers(ports["first"])[:, 0] == 1
    expected = twin_of(unit, mode).run(*operands, first, *scales)
    latency = made.latency[mode]
    width = result.shape[1]
    assert integers(result)[latency:].tolist() == (expected[: CYCLES - latency] % (1 << width)).tolist()


def test_both_simulations_count_the_same_toggles(monkeypatch: pytest.MonkeyPatch) -> None:
    unit = Unit((FormatPair.parse("fp4_e2m1"),), "fp16", 2)
    found = switching(unit, 0, ("restore", "rewrite"))
    monkeypatch.setattr(events, "loops", lambda: None)
    again = switching.__wrapped__(unit, 0, ("restore", "rewrite"))
    assert found.settled.tolist() == again.settled.tolist()
    assert found.glitches.tolist() == again.glitches.tolist()
    assert found.glitches.sum() > 0


def counted(width: int, expression: Expression, **ports: list[int]) -> dict[str, tuple[float, float]]:
    """(settled toggles, glitches) by kind of logic over all cycles, of a register's input on one stream."""
    module = Module("m")
    module.register(module.wire(width, expression))
    network = gates(module.assignments)
    cycles = len(next(iter(ports.values())))
    wide = {
        name: np.array([[[value >> bit & 1] for bit in range(8)] for value in values], dtype=np.uint64)
        for name, values in ports.items()
    }
    found = toggles(network, wide, range(1, cycles), range(1, cycles), np.ones((1, 1), dtype=np.uint64))
    totals = [
        np.bincount(network.logic, each[:, 0], len(LOGIC)) * (cycles - 1) for each in (found.settled, found.glitches)
    ]
    return {name: (float(a), float(b)) for name, a, b in zip(LOGIC, *totals, strict=True) if a or b}


A, B = Net("a", 1), Net("b", 1)


def test_a_gate_toggles_as_often_as_its_value_changes() -> None:
    found = counted(1, A & B, a=[0, 1, 1, 1], b=[1, 1, 0, 1])
    assert found["product"] == (3, 0)
    assert found["state"] == (2 + 1 + 2, 0)  # of the ports, three times, and of the register, a cycle later: twice


@pytest.fixture
def alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gates of a kind take the same time."""
    monkeypatch.setattr("codesign.hardware.rtl.analyse.toggles._SCATTER", 0)


@pytest.mark.usefixtures("alike")
def test_a_late_input_makes_a_glitch() -> None:
    late = Net("a", 1) ^ Net("b", 1) ^ Net("c", 1)
    found = counted(1, A & ~late.grouped(), a=[0, 1, 0], b=[0, 0, 0], c=[0, 0, 0])
    assert found["product"] == (0, 2)  # up as a rises, and down when the sum of the three has risen too


@pytest.mark.usefixtures("alike")
def test_a_pulse_shorter_than_the_delay_of_a_gate_does_not_appear() -> None:
    found = counted(1, A ^ (A & B).grouped(), a=[0, 1, 0], b=[1, 1, 1])
    assert "compress" not in found  # the AND is quicker than the XOR that it and a meet in


def test_gates_of_a_kind_differ_in_delay_from_one_draw_to_the_next() -> None:
    found = counted(1, A ^ (A & B).grouped(), a=[0, 1] * 20, b=[1, 1] * 20)
    assert 0 < found["compress"][1] < 39 * 2


def test_equal_gates_are_one_and_unread_ones_are_left_out() -> None:
    module = Module("m")
    both = [module.wire(4, Net("a", 4) + Net("b", 4)) for _ in range(2)]
    module.wire(4, Net("a", 4) & Net("b", 4))
    module.register(module.wire(4, both[0].expression ^ both[1].expression))
    module.register(both[0])
    network = gates(module.assignments)
    assert (network.kind == REGISTER).sum() == 4  # the sum; a number with itself is 0
    single = Module("m")
    single.register(single.wire(4, Net("a", 4) + Net("b", 4)))
    assert network.count == gates(single.assignments).count


def test_a_register_of_a_constant_is_none() -> None:
    module = Module("m")
    module.register(module.wire(4, constant(5, 4)))
    assert gates(module.assignments).registers == 0
