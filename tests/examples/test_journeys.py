"""The scripts of the three journeys, in a short form."""

from __future__ import annotations

from pathlib import Path

import pytest

from codesign.formats import read_assignment
from examples import chip_team, model_team, nightly

ROOT = Path(__file__).parents[2]
CHIPS = """
name: chips
tasks: {text: {workload: clip-l-text, formats: [int8, fp8_e4m3]}}
hardware: {units: {sets: [[int8], [fp8_e4m3]]}, rows: [4, 8], columns: [4], sram_kib: [256, 512]}
objectives: [text.latency_s, area_mm2]
"""
NIGHT = """
name: night
tasks: {net: {task: "python:mynet:task"}}
pairs: [int8, "int4_g32:int8", fp8_e4m3]
objectives: [net.quality, net.weight_bytes]
search: {batch: 3, front_size: 4}
"""
NETWORK = """
import torch

def task():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))
    return module, torch.randn(32, 16), torch.randn(64, 16), None
"""


@pytest.mark.slow
def test_a_model_team_gets_the_smallest_design_within_its_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn", reason="the example's data come from scikit-learn")
    monkeypatch.chdir(ROOT)
    chosen = model_team.main(["--out", str(tmp_path / "study"), "--evaluations", "10", "--most", "0.05"])
    assert chosen is not None
    assert model_team.loss(chosen) <= 0.05
    exported = read_assignment(tmp_path / "study" / "exported" / "digits" / "assignment.json")
    assert exported == chosen.assignments["digits"]
    assert "one format in all layers" in capsys.readouterr().out


@pytest.mark.slow
def test_a_chip_team_gets_units_chips_and_verilog(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "space.yaml").write_text(CHIPS)
    fastest = chip_team.main(["--out", str(tmp_path / "chips"), "--space", str(tmp_path / "space.yaml")])
    assert fastest.accelerator.rows == 8
    assert (tmp_path / "chips" / "rtl" / "bench.v").is_file()
    assert "fp8_e4m3" in capsys.readouterr().out


@pytest.mark.slow
def test_a_night_goes_on_from_the_one_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "space.yaml").write_text(NIGHT)
    (tmp_path / "mynet.py").write_text(NETWORK)
    night = ["--space", str(tmp_path / "space.yaml"), "--out", str(tmp_path / "study"), "--timeout", "1h"]
    assert nightly.main([*night, "--evaluations", "3"]) == 0
    assert "the first night" in capsys.readouterr().out
    assert nightly.main([*night, "--evaluations", "8"]) == 0
    assert (tmp_path / "study" / "message.md").read_text().startswith("**")
