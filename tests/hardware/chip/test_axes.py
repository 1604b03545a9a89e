"""Axes: those of ours stand once, and a package from outside adds one that files, grids, prices and studies know."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from codesign.designs import AcceleratorFacts
from codesign.errors import InputError
from codesign.hardware import Accelerator, AcceleratorGrid
from codesign.hardware.chip.accelerator import AXES
from codesign.hardware.chip.axes import Axis
from tests.hardware.cases import INT8, chip
from tests.packages import install_package

MODULE = """
from codesign.hardware import Axis

voltage = Axis(
    "supply of the array in V",
    usual=0.7,
    scales={"mac_j": lambda volts: (volts / 0.7) ** 2, "sram": lambda volts: 1 + (0.7 - volts)},
)
"""
SPACE = """
name: volts
tasks:
  net: {workload: "python:tests.tiny:untrained", formats: int8}
hardware:
  units: {sets: [[int8]]}
  rows: [4]
  columns: [4]
  sram_kib: [16]
  voltage: [0.7, 0.35]
objectives: [energy_j, area_mm2]
"""


def test_the_file_of_a_design_has_every_axis() -> None:
    assert set(AcceleratorFacts.model_fields) == {*Accelerator.__dataclass_fields__}
    assert list(AXES)[-1] == "clock_hz"
    assert all(axis.meaning for axis in AXES.values())


def test_an_axis_that_is_not_there_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown hardware axis 'row'; did you mean 'rows'"):
        AcceleratorGrid.from_ranges(pair_sets=[(INT8,)], row=[4], columns=[4], sram_bytes=[2**14])
    with pytest.raises(InputError, match=r"hardware\.rows: list its values"):
        AcceleratorGrid.from_ranges(pair_sets=[(INT8,)], columns=[4], sram_bytes=[2**14])
    with pytest.raises(InputError, match="accelerator chip: unknown hardware axis 'voltage'"):
        chip(INT8, others=(("voltage", 0.5),))


def test_an_axis_may_scale_only_what_has_a_price() -> None:
    with pytest.raises(InputError, match="hardware axis 'volts': unknown part 'mac'; did you mean 'mac_j'"):
        Axis("supply", usual=0.7, name="volts", scales={"mac": lambda volts: volts})


@pytest.mark.slow  # a process of its own: axes are known when codesign is imported
def test_an_installed_package_adds_an_axis(tmp_path: Path) -> None:
    site = tmp_path / "site"
    install_package(site, "supply", MODULE, "[codesign.axes]\nvoltage = supply:voltage\n")
    (tmp_path / "volts.yaml").write_text(SPACE)
    repository = Path(__file__).parents[3]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), str(repository)])}
    asked = [sys.executable, "-m", "codesign", "search", "volts.yaml", "--out", "study"]
    subprocess.run(asked, cwd=tmp_path, env=environment, check=True, capture_output=True)
    designs = json.loads((tmp_path / "study" / "front.json").read_text())["designs"]
    low, usual = sorted(designs, key=lambda design: design["objectives"]["energy_j"])
    assert low["accelerator"]["others"] == {"voltage": 0.35}
    assert "others" not in usual["accelerator"]
    parts = [{part["name"]: part for part in design["cost"]["components"]} for design in (low, usual)]
    assert parts[0]["mac_array"]["energy_j"] == pytest.approx(parts[1]["mac_array"]["energy_j"] / 4)
    assert parts[0]["sram"]["energy_j"] == parts[1]["sram"]["energy_j"]
    assert parts[0]["sram"]["area_mm2"] == pytest.approx(parts[1]["sram"]["area_mm2"] * 1.35)
    with (tmp_path / "study" / "fronts.csv").open() as file:
        assert {row["voltage"] for row in csv.DictReader(file)} == {"0.35", "0.7"}


def test_a_grid_has_chips_at_every_node_that_is_listed() -> None:
    ranges = {"rows": [4, 8], "columns": [4], "sram_bytes": [2**14], "clock_hz": [5e8, 1e9]}
    grid = AcceleratorGrid.from_ranges(pair_sets=[(INT8,)], node_nm=[7, 5], **ranges)
    assert [chip.node_nm for chip in grid] == grid.node_nm.tolist() == [7, 7, 5, 5] * 2
    assert [chip.clock_hz for chip in grid] == [5e8, 1e9] * 4
    with pytest.raises(InputError, match=r"hardware: node_nm: .* 2 nm"):
        AcceleratorGrid.from_ranges(pair_sets=[(INT8,)], node_nm=[7, 2], **ranges)
