"""Simulating the netlists of many units in other processes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from codesign.errors import InputError
from codesign.formats import FormatPair
from codesign.hardware.calibration.synthesis.energy import EnergyJob, Simulated, Switched, measure
from codesign.hardware.rtl import Unit
from codesign.hardware.units.activities import activities
from codesign.hardware.units.switching import switching

UNIT = Unit((FormatPair.parse("int8"),), "int32", 1)


def test_what_the_log_holds_is_not_simulated_again(tmp_path: Path) -> None:
    row = Simulated(0, "noise", clock_fj=0.5, register_fj=1.0, settled_fj=1.5, glitch_fj=2.5, leakage_nw=3.0)
    (tmp_path / "energy.jsonl").write_text(json.dumps({"key": "known", "rows": [asdict(row)]}) + "\n")
    job = EnergyJob("known", "integer", UNIT, 1000.0, tmp_path / "no netlist")
    (found,) = measure([job], [tmp_path / "no library"], tmp_path)
    assert (found.family, found.unit, found.clock_ps, found.found) == ("integer", UNIT, 1000.0, row)
    assert found.found.dynamic_fj == 5.5


def test_the_toggles_of_the_model_stand_beside_what_is_measured(tmp_path: Path) -> None:
    row = Simulated(0, "restore", 0.5, 1.0, 1.5, 2.5, 3.0)
    found = Switched.of(EnergyJob("", "integer", UNIT, 1000.0, tmp_path), row)
    model = switching(UNIT, 0, activities())
    assert found.toggles.tolist() == [model.settled[0].tolist(), model.glitches[0].tolist()]
    assert found.registers == model.registers


@pytest.mark.slow
def test_a_library_that_is_not_there_is_named_by_the_process_that_reads_it(tmp_path: Path) -> None:
    job = EnergyJob("new", "integer", UNIT, 1000.0, tmp_path / "no netlist")
    with pytest.raises(InputError, match="no library"):
        measure([job], [tmp_path / "no library"], tmp_path, parallel=1)
