"""Simulating the netlists of many units in other processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codesign.errors import InputError
from codesign.formats import FormatPair
from codesign.hardware.calibration.synthesis.energy import EnergyJob, Switched, measure
from codesign.hardware.rtl import Unit

UNIT = Unit((FormatPair.parse("int8"),), "int32", 1)


def test_what_the_log_holds_is_not_simulated_again(tmp_path: Path) -> None:
    row = {"mode": 0, "activity": "noise", "settled_fj": 1.5, "glitching_fj": 2.5, "clock_fj": 0.5, "leakage_nw": 3.0}
    (tmp_path / "energy.jsonl").write_text(json.dumps({"key": "known", "rows": [row]}) + "\n")
    job = EnergyJob("known", "integer", UNIT, tmp_path / "no netlist")
    assert measure([job], [tmp_path / "no library"], tmp_path) == (Switched("integer", UNIT, **row),)


@pytest.mark.slow
def test_a_library_that_is_not_there_is_named_by_the_process_that_reads_it(tmp_path: Path) -> None:
    job = EnergyJob("new", "integer", UNIT, tmp_path / "no netlist")
    with pytest.raises(InputError, match="no library"):
        measure([job], [tmp_path / "no library"], tmp_path, parallel=1)
