"""Units of designs synthesised and simulated: what the model says beside what is measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from codesign.cli import main
from codesign.errors import EnvironmentProblem, InputError
from codesign.formats import FormatPair
from codesign.hardware import MacUnit
from codesign.hardware.calibration.confirm import confirm
from codesign.hardware.calibration.liberty.library import Library
from codesign.hardware.calibration.synthesis.yosys import Tool
from codesign.hardware.units.coefficients import DATA
from codesign.hardware.units.unit_model import SHIPPED_7NM

PAIR = FormatPair.parse("int2")


@pytest.fixture
def unit(library: Library, tmp_path: Path) -> MacUnit:
    """One whose model claims to be fitted to the tiny library."""
    model = yaml.safe_load((DATA / SHIPPED_7NM).read_text())
    model["provenance"]["sha256"] = library.sha256
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump(model))
    return MacUnit((PAIR,), "int24", unit_model=str(path), clock_ghz=0.1)


@pytest.mark.slow
def test_a_units_area_delay_and_energy_are_measured_beside_the_model(
    unit: MacUnit, liberty_path: Path, yosys: Tool, tmp_path: Path
) -> None:
    (found,) = confirm([unit], [liberty_path], tmp_path / "out", parallel=1)
    assert (found.unit, found.clock_ps, found.failure) == (unit.rtl.name, 10_000, "")
    assert found.area_um2.modelled == unit.area_um2.value
    assert found.area_um2.measured is not None
    assert found.area_um2.measured > 100  # of more than 30 flip-flops and as many gates
    assert found.area_um2.error == pytest.approx(unit.area_um2.value / found.area_um2.measured - 1)
    energy = found.energy_pj[str(PAIR)]
    assert energy.modelled == unit.energy_pj(PAIR).value
    assert energy.measured is not None
    assert energy.measured > 1e-3 * found.area_um2.measured / 100  # the clock alone takes a fJ for each flip-flop


def test_a_missing_yosys_is_a_problem_of_the_environment(
    liberty_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match="no yosys: install it"):
        confirm([MacUnit((PAIR,))], [liberty_path], tmp_path / "out")
    assert main(["calibrate", "--liberty", str(liberty_path), "-o", str(tmp_path / "fit")]) == 3
    assert "no yosys: install it" in capsys.readouterr().err


def test_a_library_that_the_units_are_not_priced_with_is_refused(
    liberty_path: Path, yosys: Tool, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="tiny; the units are priced by mac_model_asap7, of asap7sc7p5t"):
        confirm([MacUnit((PAIR,))], [liberty_path], tmp_path / "out")
    assert not (tmp_path / "out").exists()
