"""``codesign check``, and what ``codesign explain`` says of time and memory before anything is measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from codesign import Batch, CustomTask
from codesign.cli import main
from codesign.quality.forecast import forecast


def printed(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    assert main(list(command)) == 0
    return capsys.readouterr().out


def test_check_shows_layers_unread_weights_time_and_memory(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(printed(capsys, "check", "python:tests.tiny:untrained", "--json"))
    assert found["metric"] == "squared_error"
    assert {layer["kind"] for layer in found["layers"]} == {"conv", "linear", "attention"}
    assert found["unread"] == {}
    assert found["forecast"]["batches"] == 1
    assert found["forecast"]["evaluation_s"] > found["forecast"]["batch_s"] > 0
    said = printed(capsys, "check", "python:tests.tiny:untrained")
    assert "memory of an evaluation, about" in said
    assert "Quality is squared_error in log10, a loss: smaller is better." in said


def test_explain_says_what_an_evaluation_takes(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "An evaluation will take about" in printed(capsys, "explain", str(space))
    found = json.loads(printed(capsys, "explain", str(space), "--json"))["forecasts"]["tiny"]
    assert found["memory_bytes"] >= 4 * found["parameters"]


def test_the_forecast_counts_weights_batches_and_outputs() -> None:
    batches = [Batch(torch.randn(2, 8)) for _ in range(5)]
    task = CustomTask("net", nn.Linear(8, 4), batches, batches)
    found = forecast(task, task.workload())
    assert found.parameters == 36
    assert found.weight_bytes == 144
    assert found.batches == 5
    assert found.output_bytes == 5 * 2 * 4 * 4
    task.kept_bytes = 100
    assert forecast(task, task.workload()).kept_bytes == 100


def test_options_of_a_task_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    for options, said in (
        (["--set", "lenth=3"], "unknown key 'lenth'; did you mean 'length'?"),
        (["--set", "length"], "--set length: write KEY=VALUE, such as length=128"),
        (["--set", "length=3"], "length goes with a task from a directory"),
        (["--set", "sequences=2", "--set", "length=many"], "--set:2: length: expected a whole number"),
    ):
        assert main(["check", "restore", *options]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
