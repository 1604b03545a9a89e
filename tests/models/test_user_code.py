"""Code of the user's own that raises: one line with the user's file, line and exception."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from codesign.cli import FAULT, main

MODULE = """
import sys
import torch
from torch import nn


def net(forward=None, width=16):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(width, 8), nn.ReLU(), nn.Linear(8, 4))
    return module


def good():
    return net(), torch.randn(32, 16), torch.randn(32, 16), None


def raises():
    raise RuntimeError("my own bug")


def asserts():
    assert False, "labels do not fit"


def exits():
    sys.exit(0)


def too_large():
    torch.empty(10**13)


def endless():
    return endless()


def prints():
    print("hello from the task")
    return good()


def bad_metric():
    def metric(outputs, reference):
        raise ValueError("metric bug")

    return *good()[:3], metric


class Forward(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(16, 4)

    def forward(self, x):
        print("forward")
        y = self.layer(x)
        if len(x) > 1:
            raise KeyError("state")
        return y


def bad_forward():
    return Forward(), torch.randn(32, 16), torch.randn(32, 16), None


def wrong_width():
    return net(), torch.randn(32, 17), torch.randn(32, 17), None


def text():
    return net(), torch.randn(32, 16), "hello", None


def empty():
    return net(), torch.randn(32, 16), torch.randn(0, 16), None


def silent():
    class Nothing(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(16, 4)

        def forward(self, x):
            return self.layer(x) / 0.0 * 0.0

    return Nothing(), torch.randn(32, 16), torch.randn(32, 16), None
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("def task(:\n    pass\n")
    (tmp_path / "leaving.py").write_text("import sys\nsys.exit(3)\n")
    monkeypatch.chdir(tmp_path)
    for module in ("mine", "broken", "leaving"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("mine:raises", "task 'python:mine:raises' {folder}/mine.py:18: RuntimeError: my own bug"),
        ("mine:asserts", "{folder}/mine.py:22: AssertionError: labels do not fit"),
        ("mine:exits", "{folder}/mine.py:26: it ended the process: sys.exit(0)"),
        ("mine:too_large", "{folder}/mine.py:30: RuntimeError"),
        ("mine:endless", "{folder}/mine.py:34: RecursionError"),
        ("mine:bad_metric", "metric of 'python:mine:bad_metric' {folder}/mine.py:44: ValueError: metric bug"),
        ("mine:bad_forward", "forward pass of 'python:mine:bad_forward' {folder}/mine.py:58: KeyError: 'state'"),
        ("mine:wrong_width", "forward pass of one sample of 'python:mine:wrong_width': RuntimeError: mat1 and mat2"),
        ("mine:wrong_width", "cannot be multiplied (1x17 and 16x8) (called with [32, 17] float32)"),
        ("mine:text", "'python:mine:text': the evaluation data hold no tensor with a sample axis"),
        ("mine:empty", "'python:mine:empty': the evaluation data hold no sample"),
        ("mine:silent", "silent: the float network's own output 'output' holds nothing but NaN and infinity"),
        ("broken:task", "{folder}/broken.py:1: SyntaxError"),
        ("leaving:task", "{folder}/leaving.py:2: it ended the process: sys.exit(3)"),
        (".mine:good", "'python:.mine:good': expected python:package.module:function"),
    ],
)
def test_one_line_names_the_users_file_line_and_exception(
    folder: Path, capsys: pytest.CaptureFixture[str], task: str, expected: str
) -> None:
    assert main(["evaluate", "--quick", "--task", f"python:{task}", "--formats", "int8"]) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line != "forward")  # which the task prints
    assert line.startswith("codesign: error: ")
    assert expected.format(folder=folder) in line


def test_the_users_own_traceback_is_shown_when_asked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--task", "python:mine:raises", "--traceback"]) == 2
    said = capsys.readouterr().err
    assert "Traceback (most recent call last):" in said
    assert 'raise RuntimeError("my own bug")' in said


def test_what_a_task_prints_does_not_break_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--quick", "--task", "python:mine:prints", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["task"] == "prints"
    assert "hello from the task" in said.err


def test_what_nobody_foresaw_is_one_line_a_log_and_exit_code_70(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import codesign.commands.workloads

    def broken(arguments: object) -> int:
        raise ZeroDivisionError("by nobody's fault\nsecond line")

    monkeypatch.setattr(codesign.commands.workloads, "run", broken)
    assert main(["workloads"]) == FAULT == 70
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith(
        "codesign: internal error: ZeroDivisionError: by nobody's fault; this is a fault of codesign"
    )
    log = Path(said.rsplit(" ", 1)[1].strip())
    assert "in broken" in log.read_text()
    log.unlink()
