"""The simulated netlist: values as a simulator gives them, toggles, delays and energy as counted by hand."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codesign.errors import InputError
from codesign.hardware.calibration.liberty.cells import verilog_models
from codesign.hardware.calibration.liberty.delays import cell_delays
from codesign.hardware.calibration.liberty.library import Library, read_liberty
from codesign.hardware.calibration.synthesis.activity import Activity, gate_steps, simulate
from codesign.hardware.calibration.synthesis.netlist import Netlist, costs, read_netlist
from codesign.hardware.calibration.synthesis.yosys import Tool, synthesize
from tests.hardware.calibration import tiny
from tests.programs import needed


def netlist_of(
    folder: Path, library: Library, ports: dict[str, Any], cells: list[tuple[str, dict[str, Any]]]
) -> Netlist:
    """A netlist written by hand: ports {name: (direction, bits)}, cells [(type, {pin: bit})]."""
    module = {
        "ports": {name: {"direction": direction, "bits": bits} for name, (direction, bits) in ports.items()},
        "cells": {
            f"u{i}": {"type": kind, "connections": {pin: [bit] for pin, bit in pins.items()}}
            for i, (kind, pins) in enumerate(cells)
        },
    }
    path = folder / "netlist.json"
    path.write_text(json.dumps({"modules": {"T": module}}), encoding="utf-8")
    return read_netlist(path, "T", library)


def column(*values: int) -> np.ndarray[Any, Any]:
    """One stream, a value for each cycle."""
    return np.array(values, dtype=object)[:, None]


IN, OUT = "input", "output"


def simulated(netlist: Netlist, stimulus: dict[str, np.ndarray[Any, Any]], count_from: int = 1) -> Activity:
    """All gates with the same delay; stimulus: unsigned values [cycles, streams] by port."""
    cycles, streams = next(iter(stimulus.values())).shape
    ports = {name: words(values, len(netlist.inputs.get(name, ()))) for name, values in stimulus.items()}
    inside = words(np.ones((1, streams), dtype=object), 1)[0]
    counted = range(count_from, cycles)
    return simulate(netlist, ports, counted, counted, np.ones(netlist.nets, dtype=np.int64), inside)


def words(values: np.ndarray[Any, Any], width: int) -> np.ndarray[Any, Any]:
    """[cycles, streams] as bits [cycles, width, words], stream s in bit s mod 64 of word s // 64."""
    cycles, streams = values.shape
    bits = np.zeros((cycles, width, -(-streams // 64) * 64), dtype=np.uint8)
    for bit in range(width):
        bits[:, bit, :streams] = values.astype(object) >> bit & 1
    return np.packbits(bits, axis=-1, bitorder="little").view("<u8").astype(np.uint64)


def values_of(activity: Activity, port: str, streams: int = 1) -> np.ndarray[Any, Any]:
    """Values of an output, [cycles, streams]."""
    raw = np.ascontiguousarray(activity.outputs[port].astype("<u8")).view(np.uint8)
    bits = np.unpackbits(raw, axis=-1, bitorder="little")[:, :, :streams].astype(object)
    return np.asarray((bits * np.array([1 << i for i in range(bits.shape[1])])[:, None]).sum(axis=1))


@pytest.fixture
def late_inverter(tmp_path: Path, library: Library) -> Netlist:
    """a AND (NOT a): always 0, with a pulse of one step when a rises."""
    ports = {"a": (IN, [2]), "y": (OUT, [4])}
    return netlist_of(tmp_path, library, ports, [("inv", {"A": 2, "Y": 3}), ("and2", {"A": 2, "B": 3, "Y": 4})])


def test_a_glitch_counts_where_gates_have_delays_and_not_where_they_settle(late_inverter: Netlist) -> None:
    activity = simulated(late_inverter, {"a": column(0, 1, 0)})
    output = int(late_inverter.outputs["y"][0])
    assert activity.settled[output] == 0
    assert activity.glitches[output] == 2 / 2  # up and down once, as a rises; nothing as it falls: two cycles
    assert values_of(activity, "y").ravel().tolist() == [0, 0, 0]


def test_a_pulse_shorter_than_the_delay_of_the_gate_vanishes(late_inverter: Netlist) -> None:
    slow = np.ones(late_inverter.nets, dtype=np.int64)
    output = int(late_inverter.outputs["y"][0])
    ports = {"a": words(column(0, 1, 0), 1)}
    slow[output] = 2  # the inverter takes one step
    activity = simulate(late_inverter, ports, range(1, 3), range(1, 3), slow, np.ones((1, 1), dtype=np.uint64))
    assert activity.glitches[output] == 0


def test_a_toggle_costs_half_c_v2_and_the_cells_own_energy(late_inverter: Netlist, library: Library) -> None:
    cost = costs(late_inverter, library, wire_ff=0.5)
    a, inverted, output = (
        int(late_inverter.inputs["a"][0]),
        int(late_inverter.gates[1].pins["Y"][0]),
        int(late_inverter.outputs["y"][0]),
    )
    # a: 2 inputs of 1 fF, 2 wires of 0.5 fF; the inverter: 1.5 fF and 0.25 fJ; the output: no load, 0.5 fJ
    assert cost.toggle_fj[[a, inverted, output]] == pytest.approx([0.5 * 3, 0.5 * 1.5 + 0.25, 0.5])
    assert cost.load_ff[[a, inverted, output]] == pytest.approx([3, 1.5, 0])
    assert (cost.clock_fj, cost.leakage_nw) == (0, 4.0)


def test_the_delay_of_a_gate_is_that_of_its_table_at_its_load(late_inverter: Netlist, library: Library) -> None:
    delays = cell_delays(library, library.cells)
    assert delays["inv", "Y"].delay.at(np.array([10.0]), np.array([5.0])) == pytest.approx(14)  # 10 at 1 fF, 18 at 9
    load = np.full(late_inverter.nets, 1.0)
    load[late_inverter.outputs["y"]] = 9
    steps = gate_steps(late_inverter, delays, load)
    nets = [int(group.pins["Y"][0]) for group in late_inverter.gates]
    assert sorted(steps[nets].tolist()) == [3, 5]  # 10 and 18 ps in quarters of their median, 14 ps


@pytest.fixture
def toggler(tmp_path: Path, library: Library) -> Netlist:
    """A flip-flop that changes in each cycle in which ``e`` is 1."""
    ports = {"clk": (IN, [2]), "e": (IN, [3]), "q": (OUT, [5])}
    cells = [("xor2", {"A": 3, "B": 5, "Y": 4}), ("dff", {"CK": 2, "D": 4, "Q": 5})]
    return netlist_of(tmp_path, library, ports, cells)


def test_flip_flops_begin_at_zero_and_take_their_data_at_the_end_of_a_cycle(toggler: Netlist) -> None:
    activity = simulated(toggler, {"e": column(1, 1, 0, 1, 0)})
    assert values_of(activity, "q").ravel().tolist() == [0, 1, 0, 0, 1]


def test_the_clock_costs_energy_in_every_cycle(toggler: Netlist, library: Library) -> None:
    cost = costs(toggler, library, 0.5)
    assert cost.clock_fj == pytest.approx(1.5 + 2 * 0.5)  # C V^2 of pin and wire, two edges inside
    assert cost.leakage_nw == 12
    resting = simulated(toggler, {"e": column(0, 0, 0)})
    assert not resting.settled.any()
    assert not resting.glitches.any()
    active, free = simulated(toggler, {"e": column(1, 1, 1)}), costs(toggler, library, 0)
    # Q each cycle: 2 fF of the gate, 2 fJ; D each cycle: 1 fF, and 1 fJ of the gate
    assert (active.settled[:, 0] * free.toggle_fj).sum() == pytest.approx(0.5 * 2 + 2 + 0.5 * 1 + 1)


def test_streams_are_independent_and_beyond_the_last_one_nothing_counts(toggler: Netlist) -> None:
    streams = 70  # more than a word, and not a multiple of one
    stimulus = np.zeros((6, streams), dtype=np.uint64)
    stimulus[:, 65] = 1
    activity = simulated(toggler, {"e": stimulus})
    q = int(toggler.outputs["q"][0])
    assert activity.settled[q] == pytest.approx(1 / streams)
    outputs = values_of(activity, "q", streams)
    assert outputs[:, 65].tolist() == [0, 1, 0, 1, 0, 1]
    assert not outputs[:, :65].any()


def test_toggles_before_the_counted_cycles_are_left_out(toggler: Netlist) -> None:
    activity = simulated(toggler, {"e": column(1, 1, 0, 0)}, count_from=3)
    assert activity.settled.sum() == activity.glitches.sum() == 0


def test_ports_wider_than_a_word_are_carried_whole(tmp_path: Path, library: Library) -> None:
    bits = list(range(2, 102))
    outputs = list(range(102, 202))
    cells = [("inv", {"A": a, "Y": y}) for a, y in zip(bits, outputs, strict=True)]
    netlist = netlist_of(tmp_path, library, {"a": (IN, bits), "y": (OUT, outputs)}, cells)
    values = [0x123456789ABCDEF0123456789, 1 << 99, 0]
    activity = simulated(netlist, {"a": column(*values)})
    assert values_of(activity, "y").ravel().tolist() == [(1 << 100) - 1 - value for value in values]


def test_constants_and_inputs_passed_through_reach_the_outputs(tmp_path: Path, library: Library) -> None:
    netlist = netlist_of(tmp_path, library, {"a": (IN, [2, 3]), "y": (OUT, ["1", 3, "0", 2])}, [])
    assert values_of(simulated(netlist, {"a": column(0, 1, 2)}), "y").ravel().tolist() == [1, 9, 3]


def test_set_and_reset_act_at_the_clock_edge(tmp_path: Path) -> None:
    path = tmp_path / "reset.lib"
    path.write_text(tiny.library(flip_flops=(tiny.flip_flop("dffr", clear='clear : "R\'";'),)), encoding="utf-8")
    ports = {"clk": (IN, [2]), "r": (IN, [3]), "q": (OUT, [4])}
    cells = [("dffr", {"CK": 2, "D": "1", "R": 3, "Q": 4})]
    netlist = netlist_of(tmp_path, read_liberty(path), ports, cells)
    assert values_of(simulated(netlist, {"r": column(1, 1, 0, 1, 1)}), "q").ravel().tolist() == [0, 1, 1, 0, 1]


def random_inputs(cycles: int, streams: int) -> dict[str, np.ndarray[Any, Any]]:
    generator = np.random.default_rng(0)
    inputs = {name: generator.integers(0, 16, (cycles, streams)).astype(np.uint64) for name in "ab"}
    inputs["first"] = (generator.random((cycles, streams)) < 0.2).astype(np.uint64)
    return inputs


def test_a_synthesised_unit_computes_what_its_source_says(
    yosys: Tool, merged: Path, library: Library, tmp_path: Path
) -> None:
    done = synthesize(tiny.ACCUMULATOR, "acc", merged, 1000, 60, tmp_path / "work", yosys)
    netlist = read_netlist(done.netlist_json, "acc", library)
    inputs = random_inputs(12, 100)
    activity = simulated(netlist, inputs)
    outputs = values_of(activity, "total", 100)
    total = np.zeros(100, dtype=object)
    for cycle in range(12):
        assert outputs[cycle].tolist() == total.tolist()
        a, b, first = (inputs[name][cycle].astype(object) for name in ("a", "b", "first"))
        total = (a * b + np.where(first == 1, 0, total)) % 256
    assert netlist.cells == sum(done.cells.values())
    assert (activity.glitches >= 0).all()
    assert activity.glitches.sum() > 0


# One cycle: drive, wait for the gates, print, tick.
BENCH = """module bench;
  reg clk = 0; reg first; reg [3:0] a, b; wire [7:0] total;
  acc unit(.clk(clk), .first(first), .a(a), .b(b), .total(total));
  reg [8:0] lines [0:{last}]; integer i;
  initial begin
    $readmemb("stimulus.txt", lines);
    for (i = 0; i <= {last}; i = i + 1) begin
      {{first, a, b}} = lines[i]; #5 $display("%0d", total); clk = 1; #5 clk = 0;
    end
  end
endmodule
"""


def test_the_netlist_simulated_here_agrees_with_iverilog(
    yosys: Tool, merged: Path, library: Library, tmp_path: Path
) -> None:
    needed("iverilog")
    done = synthesize(tiny.ACCUMULATOR, "acc", merged, 1000, 60, tmp_path / "work", yosys)
    inputs = random_inputs(40, 1)
    rows = zip(*(inputs[name].ravel().tolist() for name in ("first", "a", "b")), strict=True)
    (tmp_path / "stimulus.txt").write_text("".join(f"{first:b}{a:04b}{b:04b}\n" for first, a, b in rows))
    (tmp_path / "bench.v").write_text(BENCH.format(last=39))
    (tmp_path / "cells.v").write_text(verilog_models(library, done.cells))
    sources = [str(done.netlist_verilog), "cells.v", "bench.v"]
    subprocess.run(["iverilog", "-o", "bench.vvp", *sources], cwd=tmp_path, check=True, timeout=60)
    printed = subprocess.run(
        ["vvp", "bench.vvp"], cwd=tmp_path, check=True, timeout=60, capture_output=True, text=True
    ).stdout.split()
    netlist = read_netlist(done.netlist_json, "acc", library)
    assert [int(value) for value in printed] == values_of(simulated(netlist, inputs), "total").ravel().tolist()


def test_models_of_flip_flops_have_their_edges_and_resets(tmp_path: Path) -> None:
    flop = tiny.flip_flop("dffr", clear='clear : "!R";', output="IQN")
    path = tmp_path / "reset.lib"
    path.write_text(tiny.library(flip_flops=(flop, tiny.flip_flop())), encoding="utf-8")
    text = verilog_models(read_liberty(path), ["dffr", "inv", "dffr"])
    assert text.count("module dffr(") == 1
    assert "always @(posedge CK or negedge R) if (~R) IQ <= 1'b0; else IQ <= D;" in text
    assert "assign Q = IQN;" in text
    assert "assign Y = ~A;" in text


def test_a_cell_that_the_library_lacks_is_named(tmp_path: Path, library: Library) -> None:
    with pytest.raises(InputError, match="no cell 'nand3'; did you mean 'nand2'"):
        netlist_of(tmp_path, library, {"a": (IN, [2])}, [("nand3", {"A": 2})])
    with pytest.raises(InputError, match="no cell 'nand3'"):
        verilog_models(library, ["nand3"])


def test_a_loop_of_gates_is_refused(tmp_path: Path, library: Library) -> None:
    cells = [("inv", {"A": 3, "Y": 4}), ("nand2", {"A": 2, "B": 4, "Y": 3})]
    netlist = netlist_of(tmp_path, library, {"a": (IN, [2]), "y": (OUT, [4])}, cells)
    with pytest.raises(InputError, match="loop without a flip-flop"):
        simulated(netlist, {"a": column(0, 1)})


def test_a_gated_clock_is_refused(tmp_path: Path, library: Library) -> None:
    ports = {"clk": (IN, [2]), "e": (IN, [3]), "q": (OUT, [5])}
    cells = [("and2", {"A": 2, "B": 3, "Y": 4}), ("dff", {"CK": 4, "D": 5, "Q": 5})]
    with pytest.raises(InputError, match="the clock passes a gate"):
        netlist_of(tmp_path, library, ports, cells)


def test_two_clocks_are_refused(tmp_path: Path, library: Library) -> None:
    ports = {"c": (IN, [2]), "d": (IN, [3]), "q": (OUT, [4, 5])}
    cells = [("dff", {"CK": 2, "D": "0", "Q": 4}), ("dff", {"CK": 3, "D": "0", "Q": 5})]
    with pytest.raises(InputError, match="2 clock nets"):
        netlist_of(tmp_path, library, ports, cells)


def test_stimulus_and_ports_must_match(toggler: Netlist) -> None:
    with pytest.raises(InputError, match=r"input ports \['e'\]; the stimulus gives \['f'\]"):
        simulated(toggler, {"f": column(0, 1)})
    steps, mask = np.ones(toggler.nets, dtype=np.int64), np.ones((1, 1), dtype=np.uint64)
    with pytest.raises(InputError, match=r"arrays \[cycles, bits, words\]"):
        simulate(toggler, {"e": np.zeros(4, dtype=np.uint64)}, range(1, 4), range(1, 4), steps, mask)
    with pytest.raises(InputError, match="nothing to count"):
        simulated(toggler, {"e": column(1)})


@pytest.mark.parametrize("text", ["no json", "[]", '{"modules": {}}', '{"modules": {"T": {}}}'])
def test_a_file_that_is_no_netlist_is_refused(tmp_path: Path, library: Library, text: str) -> None:
    path = tmp_path / "netlist.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="not a netlist of module 'T'"):
        read_netlist(path, "T", library)
