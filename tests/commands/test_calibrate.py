"""``codesign calibrate``: libraries that cannot serve, tools that hang, and a small grid all the way to prices."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from codesign.cli import main
from codesign.formats import FormatPair
from codesign.hardware import MacUnit
from codesign.hardware.calibration.synthesis.grid import Entry
from codesign.hardware.rtl import Unit
from tests.hardware.calibration import tiny
from tests.programs import needed

WIDTHS = ("int2", "int3", "int4", "int5", "int6", "int8", "int16", *(f"int{bits}:int8" for bits in (2, 3, 4, 5, 6)))
FLOATS = ("fp4_e2m1",)
ADDED = ("lut3_n4_n1_0_1_4",)
WHOLE = tiny.library()
UNUSABLE = {
    "truncated": (WHOLE[: len(WHOLE) // 2], "the file is truncated"),
    "without a flip-flop": (tiny.library(flip_flops=""), "flip-flop"),
    "not Liberty": ("<html>404: not found</html>", "library"),
    "empty": ("", "library"),
}


def small_grid(
    clocks_ps: tuple[float, ...],
    level_ps: Mapping[str, float],
    count: int | None = None,
    added: Sequence[FormatPair] = (),
) -> list[Entry]:
    units = [Unit((FormatPair.parse(text),), "int32", 1) for text in WIDTHS]
    units += [Unit((FormatPair.parse(text),), "fp16", 1) for text in FLOATS]
    units += [Unit((pair,), "auto", 1) for pair in added]
    return [Entry(unit.pairs[0].weight, unit, clock) for clock in clocks_ps for unit in units]


@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_library_that_cannot_serve_is_one_line(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, message = UNUSABLE[kind]
    path = tmp_path / "cells.lib"
    path.write_text(text)
    assert main(["calibrate", "--liberty", str(path), "-o", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert str(path) in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_missing_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "--liberty", str(tmp_path / "no.lib"), "-o", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_without_a_synthesiser_it_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cells.lib"
    path.write_text(WHOLE)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("codesign.hardware.calibration.synthesis.yosys.find_yosys", lambda tool: None)
    assert main(["calibrate", "--liberty", str(path), "-o", str(tmp_path / "out")]) == 3
    assert "apt-get install yosys" in capsys.readouterr().err


@pytest.mark.parametrize("units", ["23", "139"])
def test_a_quick_grid_has_enough_units_and_no_more_than_there_are(
    units: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cells.lib"
    path.write_text(WHOLE)
    out = tmp_path / "out"
    assert main(["calibrate", "--liberty", str(path), "-o", str(out), "--units", units]) == 2
    assert capsys.readouterr().err == f"codesign: error: --units: {units} units; a grid has 24 to 138\n"
    assert not out.exists()


@pytest.fixture
def yosys_that_hangs(tmp_path: Path) -> str:
    """The real one, but for INT5 units, of which it makes nothing in five minutes."""
    real = needed("yosys")
    path = tmp_path / "hanging-yosys"
    hangs = "grep -q 'input .4:0. w,' design.v 2>/dev/null && grep -q 'input .4:0. a,' design.v"
    path.write_text(f'#!/bin/sh\nif {hangs}; then sleep 300; fi\nexec {real} "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.long
@pytest.mark.slow
def test_the_fit_goes_on_without_a_unit_whose_synthesis_hangs_and_its_model_prices_units(
    yosys_that_hangs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codesign.hardware.calibration.calibrate.grid", small_grid)
    path, out = tmp_path / "cells.lib", tmp_path / "out"
    path.write_text(WHOLE)
    asked = ["calibrate", "--liberty", str(path), "-o", str(out), "--tool", yosys_that_hangs, "--limit", "6"]
    asked += ["--formats", *ADDED]
    assert main([*asked, "--units", "24"]) == 0
    printed, progress = capsys.readouterr()
    assert f"next: codesign mac int8 int8 --model {out / 'mac_model.yaml'}\n" in printed
    assert "quick grid: 114 units left out, the 90th percentiles are upper bounds" in printed
    assert "probe: 0/1 an INT8 MAC" in progress
    quick: dict[str, Any] = yaml.safe_load((out / "mac_model.yaml").read_text())
    assert main(asked) == 0
    printed = capsys.readouterr().out
    assert "quick grid" not in printed
    failed = [line for line in printed.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 2  # at both clocks
    assert all("int5_int5" in line and "6 s" in line for line in failed)
    model: dict[str, Any] = yaml.safe_load((out / "mac_model.yaml").read_text())
    count = 2 * (len(WIDTHS) + len(FLOATS) + len(ADDED) - 1)
    assert model["provenance"]["units"] == quick["provenance"]["units"] == count
    assert (model["provenance"]["left_out"], quick["provenance"]["left_out"]) == (0, 114)
    for what, of in model["errors"].items():
        for how, errors in of.items():
            assert quick["errors"][what][how]["p90"] >= errors["p90"]
    assert len(model["provenance"]["failed"]) == 2
    assert set(model["errors"]) == {"area", "delay", "energy"}
    rows = json.loads((out / "units.json").read_text())
    assert len(rows) == count
    assert {row["lanes"] for row in rows} == {1}
    assert all(len(row["energy"]) == 3 for row in rows if row["clock_ps"] == max(r["clock_ps"] for r in rows))
    assert {row["pairs"][0] for row in rows} >= {f"{name}:{name}" for name in ADDED}
    pair = FormatPair.parse("int8")
    unit = MacUnit((pair,), "int32", unit_model=str(out / "mac_model.yaml"))
    measured = next(row["area_um2"] for row in rows if row["pairs"] == ["int8:int8"])
    assert unit.area_um2.value == pytest.approx(measured, rel=0.15)
    assert unit.energy_pj(pair).value > 0
    assert MacUnit((pair,), "int32", 8, unit_model=str(out / "mac_model.yaml")).extrapolation
