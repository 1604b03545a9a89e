"""A unit with handshakes gives every result once, whatever pauses its neighbours make."""

from __future__ import annotations

from pathlib import Path

import pytest

from codesign.errors import InputError
from codesign.formats import FormatPair
from codesign.hardware.rtl import Unit, build
from codesign.hardware.rtl.emit.array import Array, array
from codesign.hardware.rtl.emit.array_stream import array_stream
from codesign.hardware.rtl.emit.pipeline import STEPS
from codesign.hardware.rtl.emit.stream import header, stream
from codesign.hardware.rtl.verify.array_stream_bench import ArrayStreamCheck
from codesign.hardware.rtl.verify.simulate import SIMULATORS, Verdict, simulate
from codesign.hardware.rtl.verify.stream_bench import StreamCheck
from tests.programs import needed

EVERY_STEP = frozenset(STEPS)
UNITS = {
    "integers": Unit((FormatPair.parse("int8"),), "auto", 2),
    "interleaved floats beside integers": Unit(
        (FormatPair.parse("fp8_e4m3"), FormatPair.parse("int8")), "auto", 2, EVERY_STEP, (1, 1)
    ),
}


def verdicts(simulator: str, unit: Unit, folder: Path, right: str = "", wrong: str = "") -> list[Verdict]:
    needed(simulator)
    built = build(unit, enable=True)
    text = stream(built, "unit")
    assert right in text
    files = {"unit.v": built.text, "unit_stream.v": text.replace(right, wrong), "unit_params.vh": header(built, "unit")}
    checks = [StreamCheck.of(built, "unit_stream", mode, groups=30) for mode in range(len(unit.modes))]
    return simulate(simulator, checks, files, folder)


def sources(made: Array) -> dict[str, str]:
    return {"array.v": made.text, "unit.v": made.built.text, "array_stream.v": array_stream(made)}


@pytest.mark.slow
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_results_are_those_of_the_twin_in_order(simulator: str, tmp_path: Path) -> None:
    found = verdicts(simulator, UNITS["interleaved floats beside integers"], tmp_path)
    assert [verdict.wrong for verdict in found] == [0] * len(found), found[0].detail
    assert all(verdict.steps >= 30 for verdict in found)


@pytest.mark.slow
def test_an_output_stationary_array_gives_all_rows_of_results_once(tmp_path: Path) -> None:
    needed("iverilog")
    made = array(UNITS["interleaved floats beside integers"], 3, 2, enable=True)
    checks = [ArrayStreamCheck(made, mode, steps=steps) for mode in range(2) for steps in (1, 5, 12)]
    found = simulate("iverilog", checks, sources(made), tmp_path)
    assert [verdict.wrong for verdict in found] == [0] * len(checks), found[0].detail
    assert [verdict.steps for verdict in found] == [6 * 3 * 3] * 3 + [6 * 3] * 3  # floats take turns, three in a cell


@pytest.mark.slow
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_a_weight_stationary_array_gives_the_sums_of_every_beat_once(simulator: str, tmp_path: Path) -> None:
    needed(simulator)
    made = array(UNITS["interleaved floats beside integers"], 3, 2, "weight", enable=True)
    checks = [ArrayStreamCheck(made, mode, steps=steps) for mode in range(2) for steps in (1, 5, 12)]
    checks.append(ArrayStreamCheck(made, 1, steps=3, rows=1, columns=1))
    found = simulate(simulator, checks, sources(made), tmp_path)
    assert [verdict.wrong for verdict in found] == [0] * len(checks), found[0].detail
    assert [verdict.steps for verdict in found] == [6 * 2 * steps for steps in (1, 5, 12, 1, 5, 12, 3)]


def test_a_weight_stationary_array_adds_to_the_sums_that_come_with_the_activations(tmp_path: Path) -> None:
    needed("iverilog")
    made = array(UNITS["integers"], 3, 2, "weight", enable=True)
    (found,) = simulate("iverilog", [ArrayStreamCheck(made, 0, tiles=4)], sources(made), tmp_path)
    assert (found.steps, found.wrong) == (4 * 2 * 5, 0), found.detail


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("wire en = ~held & ", "wire en = "),
        ("(~fresh | whole)", "1'b1"),
        (" & (busy == 16'd0);", ";"),
        ("results <= {results[DEPTH-2:0], accepted}", "results <= {results[DEPTH-2:0], s_valid}"),
    ],
    ids=["drops a result", "takes activations before their weights", "loads over weights in use", "invents a result"],
)
def test_a_wrong_handshake_of_a_weight_stationary_array_is_noticed(right: str, wrong: str, tmp_path: Path) -> None:
    needed("iverilog")
    made = array(UNITS["integers"], 3, 2, "weight", enable=True)
    files = sources(made)
    assert right in files["array_stream.v"]
    files["array_stream.v"] = files["array_stream.v"].replace(right, wrong)
    (found,) = simulate("iverilog", [ArrayStreamCheck(made, 0, steps=2)], files, tmp_path)
    assert found.wrong


@pytest.mark.parametrize("dataflow", ["output", "weight"])
def test_a_stream_around_an_array_that_cannot_stand_still_is_refused(dataflow: str) -> None:
    with pytest.raises(InputError, match="with an enable"):
        array_stream(array(UNITS["integers"], 3, 2, dataflow))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("assign s_ready = ~held;", "assign s_ready = 1'b1;"),
        ("wire en = ~held & ", "wire en = "),
        ("s_valid | (~open & |results)", "s_valid | |results"),
        ("assign m_valid = arrived & ~taken;", "assign m_valid = arrived;"),
    ],
    ids=["takes steps while a result waits", "drops a result", "adds a pause to a sum", "gives a result twice"],
)
def test_a_wrong_handshake_is_noticed(right: str, wrong: str, tmp_path: Path) -> None:
    (found,) = verdicts("iverilog", UNITS["integers"], tmp_path, right, wrong)
    assert found.wrong
