"""The simulated netlist: values as a simulator gives them, toggles and energy as counted by hand."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codesign.errors import InputError
from codesign.hardware.calibration.liberty.cells import verilog_models
from codesign.hardware.calibration.liberty.library import Library, read_liberty
from codesign.hardware.calibration.synthesis.netlist import Netlist, energy_fj, read_netlist, switching
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


@pytest.fixture
def late_inverter(tmp_path: Path, library: Library) -> Netlist:
    """a AND (NOT a): always 0, with a pulse of one step when a rises."""
    ports = {"a": (IN, [2]), "y": (OUT, [4])}
    return netlist_of(tmp_path, library, ports, [("inv", {"A": 2, "Y": 3}), ("and2", {"A": 2, "B": 3, "Y": 4})])


def test_a_glitch_counts_with_unit_delay_and_not_with_zero_delay(late_inverter: Netlist) -> None:
    activity = switching(late_inverter, {"a": column(0, 1, 0)})
    output = int(late_inverter.outputs["y"][0])
    assert activity.settled[output] == 0
    assert activity.unit_delay[output] == 2  # up and down once, as a rises; nothing as it falls
    assert activity.outputs["y"].ravel().tolist() == [0, 0, 0]


def test_energy_is_half_c_v2_and_the_cells_own_for_each_toggle(late_inverter: Netlist, library: Library) -> None:
    activity = switching(late_inverter, {"a": column(0, 1, 0)})
    energy = energy_fj(activity, late_inverter, library, wire_cap_ff_per_fanout=0.5)
    # two cycles: a twice (2 inputs of 1 fF, 2 wires of 0.5 fF), the inverter twice (1.5 fF and 0.25 fJ)
    assert energy.zero_delay_fj == pytest.approx((2 * 0.5 * 3 + 2 * (0.5 * 1.5 + 0.25)) / 2)
    # and the output's two glitches (no load, 0.5 fJ)
    assert energy.unit_delay_fj == pytest.approx(energy.zero_delay_fj + 2 * 0.5 / 2)
    assert energy.clock_fj == 0
    assert energy.leakage_nw == 4.0


@pytest.fixture
def toggler(tmp_path: Path, library: Library) -> Netlist:
    """A flip-flop that changes in each cycle in which ``e`` is 1."""
    ports = {"clk": (IN, [2]), "e": (IN, [3]), "q": (OUT, [5])}
    cells = [("xor2", {"A": 3, "B": 5, "Y": 4}), ("dff", {"CK": 2, "D": 4, "Q": 5})]
    return netlist_of(tmp_path, library, ports, cells)


def test_flip_flops_begin_at_zero_and_take_their_data_at_the_end_of_a_cycle(toggler: Netlist) -> None:
    activity = switching(toggler, {"e": column(1, 1, 0, 1, 0)})
    assert activity.outputs["q"].ravel().tolist() == [0, 1, 0, 0, 1]


def test_the_clock_costs_energy_in_every_cycle(toggler: Netlist, library: Library) -> None:
    resting = energy_fj(switching(toggler, {"e": column(0, 0, 0)}), toggler, library, 0.5)
    assert (resting.zero_delay_fj, resting.unit_delay_fj) == (0, 0)
    assert resting.clock_fj == pytest.approx(1.5 + 2 * 0.5)  # C V^2 of pin and wire, two edges inside
    assert resting.leakage_nw == 12
    active = energy_fj(switching(toggler, {"e": column(1, 1, 1)}), toggler, library, 0)
    # Q each cycle: 2 fF of the gate, 2 fJ; D each cycle: 1 fF, and 1 fJ of the gate
    assert active.zero_delay_fj == pytest.approx(0.5 * 2 + 2 + 0.5 * 1 + 1)


def test_streams_are_independent_and_beyond_the_last_one_nothing_counts(toggler: Netlist) -> None:
    streams = 70  # more than a word, and not a multiple of one
    stimulus = np.zeros((6, streams), dtype=np.uint64)
    stimulus[:, 65] = 1
    activity = switching(toggler, {"e": stimulus})
    q = int(toggler.outputs["q"][0])
    assert activity.settled[q] == activity.unit_delay[q] == 5
    assert activity.transitions == 5 * streams
    assert activity.outputs["q"][:, 65].tolist() == [0, 1, 0, 1, 0, 1]
    assert not activity.outputs["q"][:, :65].any()


def test_toggles_before_the_counted_cycles_are_left_out(toggler: Netlist) -> None:
    activity = switching(toggler, {"e": column(1, 1, 0, 0)}, count_from=3)
    assert activity.settled.sum() == activity.unit_delay.sum() == 0
    assert activity.transitions == 1


def test_ports_wider_than_a_word_are_carried_whole(tmp_path: Path, library: Library) -> None:
    bits = list(range(2, 102))
    outputs = list(range(102, 202))
    cells = [("inv", {"A": a, "Y": y}) for a, y in zip(bits, outputs, strict=True)]
    netlist = netlist_of(tmp_path, library, {"a": (IN, bits), "y": (OUT, outputs)}, cells)
    values = [0x123456789ABCDEF0123456789, 1 << 99, 0]
    activity = switching(netlist, {"a": column(*values)})
    assert activity.outputs["y"].ravel().tolist() == [(1 << 100) - 1 - value for value in values]


def test_constants_and_inputs_passed_through_reach_the_outputs(tmp_path: Path, library: Library) -> None:
    netlist = netlist_of(tmp_path, library, {"a": (IN, [2, 3]), "y": (OUT, ["1", 3, "0", 2])}, [])
    assert switching(netlist, {"a": column(0, 1, 2)}).outputs["y"].ravel().tolist() == [1, 9, 3]


def test_set_and_reset_act_at_the_clock_edge(tmp_path: Path) -> None:
    path = tmp_path / "reset.lib"
    path.write_text(tiny.library(flip_flops=(tiny.flip_flop("dffr", clear='clear : "R\'";'),)), encoding="utf-8")
    ports = {"clk": (IN, [2]), "r": (IN, [3]), "q": (OUT, [4])}
    cells = [("dffr", {"CK": 2, "D": "1", "R": 3, "Q": 4})]
    netlist = netlist_of(tmp_path, read_liberty(path), ports, cells)
    assert switching(netlist, {"r": column(1, 1, 0, 1, 1)}).outputs["q"].ravel().tolist() == [0, 1, 1, 0, 1]


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
    activity = switching(netlist, inputs)
    total = np.zeros(100, dtype=object)
    for cycle in range(12):
        assert activity.outputs["total"][cycle].tolist() == total.tolist()
        a, b, first = (inputs[name][cycle].astype(object) for name in ("a", "b", "first"))
        total = (a * b + np.where(first == 1, 0, total)) % 256
    assert netlist.cells == sum(done.cells.values())
    assert (activity.unit_delay >= activity.settled).all()
    assert activity.unit_delay.sum() > activity.settled.sum()


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
    assert [int(value) for value in printed] == switching(netlist, inputs).outputs["total"].ravel().tolist()


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
        switching(netlist, {"a": column(0, 1)})


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
        switching(toggler, {"f": column(0, 1)})
    with pytest.raises(InputError, match=r"arrays \[cycles, streams\]"):
        switching(toggler, {"e": np.zeros(4, dtype=np.uint64)})
    with pytest.raises(InputError, match="nothing to count"):
        switching(toggler, {"e": column(1)})


@pytest.mark.parametrize("text", ["no json", "[]", '{"modules": {}}', '{"modules": {"T": {}}}'])
def test_a_file_that_is_no_netlist_is_refused(tmp_path: Path, library: Library, text: str) -> None:
    path = tmp_path / "netlist.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="not a netlist of module 'T'"):
        read_netlist(path, "T", library)
