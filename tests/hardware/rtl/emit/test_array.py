"""Arrays of both dataflows against the twin, on matrices whose tails fill neither the lanes nor the tiles."""

from __future__ import annotations

import itertools
import re
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from codesign.errors import InputError
from codesign.formats import FormatPair
from codesign.hardware.rtl import Unit
from codesign.hardware.rtl.emit.array import DATAFLOWS, Array, array
from codesign.hardware.rtl.emit.pipeline import STEPS
from codesign.hardware.rtl.verify.array_bench import ArrayCheck, Matrices
from codesign.hardware.rtl.verify.bench import Trace
from codesign.hardware.rtl.verify.simulate import Verdict, simulate
from tests.programs import needed

EVERY_STEP = frozenset(STEPS)
UNITS = {
    "integer": (("int8",), "auto", 4, ()),
    "minifloat": (("fp8_e4m3",), "fp32", 2, ()),
    "minifloat, one lane": (("fp8_e5m2:fp8_e4m3",), "fp16", 1, ()),
    "blocks with scales": (("mxfp4",), "fp32", 4, ()),
    "several blocks a step": (("nvfp4",), "fp32", 32, ()),
    "integer scales": (("int4_g16_s2u4",), "int24", 8, ()),
    "zero point": (("int8_zp:int8",), "auto", 2, ()),
    "two modes of one latency": (("int8", "int4"), "auto", 2, (1, 4)),
    "two modes of two latencies": (("int8", "mxfp8_e4m3"), "auto", 2, ()),
}
QUICK = ("integer", "minifloat", "blocks with scales", "two modes of two latencies")


def made(name: str, cuts: frozenset[str], dataflow: str) -> Array:
    pairs, accumulator, lanes, rates = UNITS[name]
    unit = Unit(tuple(map(FormatPair.parse, pairs)), accumulator, lanes, cuts, rates)
    return array(unit, 16, 8, dataflow)


def checks_of(cells: Array, taps: int = 3, channels: int = 21) -> list[ArrayCheck]:
    """A product [5, K] x [7, K] in every mode; neither 5, 7 nor K fill what the corner computes at a time."""
    generator = torch.Generator().manual_seed(0)
    weight, activation = (torch.randn(n, taps, channels, generator=generator) for n in (7, 5))
    return [ArrayCheck(cells, k, Matrices.of(mode, weight, activation)) for k, mode in enumerate(cells.unit.modes)]


def verdicts(simulator: str, cells: Array, folder: Path, text: str | None = None) -> list[Verdict]:
    needed(simulator)
    sources = {"array.v": text or cells.text, "unit.v": cells.built.text}
    return simulate(simulator, checks_of(cells), sources, folder)


@pytest.mark.slow
@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize("name", QUICK)
def test_an_array_multiplies_matrices_as_its_twin_does(name: str, dataflow: str, tmp_path: Path) -> None:
    found = verdicts("iverilog", made(name, EVERY_STEP, dataflow), tmp_path)
    assert [verdict.wrong for verdict in found] == [0] * len(found), "\n".join(v.detail for v in found)
    assert all(verdict.steps >= 2 * 3 for verdict in found)  # several tiles of three rows


@pytest.mark.slow
@pytest.mark.parametrize("cuts", [frozenset(), EVERY_STEP, frozenset({"multiply", "fp_add"})], ids=len)
@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize("name", UNITS)
def test_every_kind_of_unit_works_in_an_array_however_it_is_cut(
    name: str, dataflow: str, cuts: frozenset[str], tmp_path: Path
) -> None:
    found = verdicts("iverilog", made(name, cuts, dataflow), tmp_path)
    assert [verdict.wrong for verdict in found] == [0] * len(found), "\n".join(v.detail for v in found)


@dataclass(frozen=True)
class Renamed:
    """A check of an array whose modules have a suffix, so that it stands beside others in one bench."""

    check: ArrayCheck
    suffix: str

    def trace(self) -> Trace:
        made = self.check.trace()
        return replace(made, module=made.module + self.suffix)

    def sources(self) -> str:
        text = self.check.cells.text + self.check.cells.built.text
        names = "|".join(re.findall(r"^module (\w+)", text, re.MULTILINE))
        return re.sub(rf"\b({names})\b", rf"\1{self.suffix}", text)


@pytest.mark.slow
@pytest.mark.long
def test_the_second_simulator_agrees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All in one bench: most of the time goes into building it."""
    monkeypatch.setenv("MAKEFLAGS", "-j2 -- OPT_GLOBAL=-O0")  # nothing runs long enough to be optimised
    needed("verilator")
    arrays = [made(name, EVERY_STEP, dataflow) for name, dataflow in itertools.product(QUICK, DATAFLOWS)]
    checks = [Renamed(check, f"_{i}") for i, cells in enumerate(arrays) for check in checks_of(cells)]
    found = simulate("verilator", checks, {f"array{check.suffix}.v": check.sources() for check in checks}, tmp_path)
    assert len(found) == 2 * 5  # two dataflows of four units, one of them with two modes
    assert [verdict.wrong for verdict in found] == [0] * len(found), "\n".join(v.detail for v in found)


FAULTS = {
    "a row that is not skewed": ("output", ".CLOCKS(r)", ".CLOCKS(0)"),
    "a sum put aside a clock early": ("output", "finished[9]", "finished[8]"),
    "results that stay in their row": ("output", "take ? acc : above", "acc"),
    "weights of the wrong column": ("output", "assign column_in = top[c].stream", "assign column_in = top[0].stream"),
    "sums that do not pass": ("weight", "row[r-1].column[c].below}", "32'b0}"),
    "weights that change at once": ("weight", "? waiting : held", "? waiting : waiting"),
    "columns that are not aligned again": ("weight", ".CLOCKS(COLUMNS-1-c)", ".CLOCKS(0)"),
    "rows that meet the sums a clock early": ("weight", ".CLOCKS(r*10)", ".CLOCKS(r > 0 ? r*10-1 : 0)"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_array_is_caught(fault: str, tmp_path: Path) -> None:
    dataflow, right, wrong = FAULTS[fault]
    cells = made("minifloat", EVERY_STEP, dataflow)
    assert right in cells.text
    (found,) = verdicts("iverilog", cells, tmp_path, cells.text.replace(right, wrong))
    assert found.wrong > 0
    assert "MISMATCH 0" in found.detail


def test_a_pipelined_float_accumulator_works_on_several_rows_in_turn_only_where_outputs_stay() -> None:
    assert made("two modes of two latencies", EVERY_STEP, "output").interleave(0) == 1  # int8
    assert made("two modes of two latencies", EVERY_STEP, "output").interleave(1) == 3
    assert made("two modes of two latencies", EVERY_STEP, "weight").interleave(1) == 1


def test_the_bench_runs_a_corner_of_an_array_that_keeps_its_size() -> None:
    cells = made("integer", frozenset(), "output")
    (check,) = checks_of(cells)
    assert check.trace().parameters == {"ROWS": 3, "COLUMNS": 2}
    assert "parameter ROWS = 16, parameter COLUMNS = 8" in cells.text


def test_a_long_contraction_is_run_whole_and_on_as_many_tiles_as_fit() -> None:
    (check,) = checks_of(made("minifloat, one lane", EVERY_STEP, "output"), taps=9, channels=400)
    assert check.matrices.steps == 3600
    assert check.trace().compared.sum() == 9  # one tile of 3 rows x 3 sums in turn
    assert len(check.trace().inputs) > 3 * 3600


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_yosys_reads_a_corner_without_a_complaint(dataflow: str, tmp_path: Path) -> None:
    needed("yosys")
    cells = made("two modes of two latencies", EVERY_STEP, dataflow)
    (tmp_path / "array.v").write_text(cells.text)
    (tmp_path / "unit.v").write_text(cells.built.text)
    script = (
        "read_verilog array.v unit.v; hierarchy -check -top array -chparam ROWS 2 -chparam COLUMNS 3;"
        " proc; opt; check -assert"
    )
    done = subprocess.run(["yosys", "-q", "-p", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "array.v" not in done.stdout + done.stderr  # no warning either


def test_what_cannot_be_built_is_refused_with_a_reason() -> None:
    unit = Unit((FormatPair.parse("int8"),), "int32", 1)
    with pytest.raises(InputError, match="unknown dataflow 'weights'; did you mean 'weight'"):
        array(unit, 2, 2, "weights")
    with pytest.raises(InputError, match="at least one row"):
        array(unit, 0, 2)
    with pytest.raises(InputError, match="take the dataflow 'weight'"):
        array(array(unit, 2, 2, "weight").unit, 2, 2, "output")
