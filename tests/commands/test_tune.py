"""``codesign tune``, and ``codesign evaluate --weights`` of what it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from codesign.cli import main
from codesign.errors import InputError
from codesign.export.tuned import read_tuned
from codesign.formats import Assignment
from codesign.models import load_task
from codesign.quality import Evaluator
from tests import designs

TASK = "python:tests.tiny:task"
SPACE = f"""
name: small
tasks: {{tiny: {{task: "{TASK}", ranges: minmax}}, other: {{task: "{TASK}"}}}}
pairs: ["int4:int8"]
hardware: {{units: {{sets: [["int4:int8"]]}}, rows: [8], columns: [8], sram_kib: [1024]}}
objectives: [tiny.quality, area_mm2]
"""
DESIGN = "d00000001"
TUNE = ["--steps", "30", "--lr", "0.005", "--json"]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """One design of two networks: 4-bit weights, which GPTQ rounds."""
    layers = Assignment.uniform(load_task(TASK).workload(), "int4:int8 + gptq").to_dict()
    return designs.write_front(tmp_path / "study", [designs.design(DESIGN, {"tiny": layers, "other": layers})], SPACE)


def test_what_is_written_evaluates_to_what_was_measured(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", str(study), "--design", DESIGN, "--task", "tiny", *TUNE]) == 0
    printed = json.loads(capsys.readouterr().out)
    folder = study / "tuned" / DESIGN
    assert printed == json.loads((folder / "tuned.json").read_text())
    assert (printed["tuned"], printed["design"], list(printed["tasks"])) == (True, DESIGN, ["tiny"])
    facts = printed["tasks"]["tiny"]
    assert facts["after"]["value"] < facts["before"]["value"]
    assert facts["held_out_after"] < facts["held_out_before"]
    assert (facts["steps"], facts["seed"], facts["learning_rate"], facts["ranges"]) == (30, 0, 0.005, "minmax")

    found = read_tuned(folder)["tiny"]
    evaluator = Evaluator(load_task(TASK), ranges="minmax", weights=found.weights)
    assert evaluator(found.facts.assignment).value == facts["after"]["value"]

    files = ["--assignment", str(folder / "tiny.json"), "--weights", str(folder / "tiny.safetensors")]
    assert main(["evaluate", "--task", TASK, *files, "--ranges", "minmax", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["weights"] == str(folder / "tiny.safetensors")
    assert measured["metrics"][0]["value"] == facts["after"]["value"]


def test_networks_that_were_tuned_before_are_kept(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(study.parent / "out")
    for task in ("tiny", "other"):
        assert main(["tune", str(study), "--design", DESIGN, "--task", task, "-o", out, "--steps", "3"]) == 0
    assert set(read_tuned(Path(out))) == {"tiny", "other"}
    shown = capsys.readouterr().out
    assert f"{DESIGN} of small, tuned" in shown


def test_weights_that_were_changed_are_refused(study: Path) -> None:
    folder = study / "tuned" / DESIGN
    assert main(["tune", str(study), "--design", DESIGN, "--task", "tiny", "--steps", "2", "--json"]) == 0
    path = folder / "tiny.safetensors"
    weights = load_file(path)
    save_file({name: weight + 1 for name, weight in weights.items()}, path)
    with pytest.raises(InputError, match=r"tiny.safetensors: not the weights that .*tuned.json measured"):
        read_tuned(folder)


def test_an_interrupt_keeps_the_network_that_was_being_tuned(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = torch.optim.Adam.step
    made: list[int] = []

    def interrupted(*args: object, **options: object) -> object:
        made.append(1)
        if len(made) > 10:
            raise KeyboardInterrupt
        return steps(*args, **options)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(torch.optim.Adam, "step", interrupted)
    assert main(["tune", str(study), "--design", DESIGN, *TUNE]) == 130
    captured = capsys.readouterr()
    found = json.loads(captured.out)["tasks"]
    assert list(found) == ["tiny"]
    assert (found["tiny"]["stopped"], found["tiny"]["steps"]) == (True, 10)
    assert "the best weights so far are kept" in captured.err
