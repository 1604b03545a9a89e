"""Progress of commands: on stderr, where a command takes long, and never in the way of a program that reads it."""

from __future__ import annotations

import importlib
import time
from pathlib import Path

import pytest

from codesign.cli import main
from codesign.commands.progress import StageProgress

LONG = {
    "evaluate": ["evaluate", "--task", "python:tests.tiny:task", "--quick"],
    "cost": ["cost", "--workload", "clip-l-text", "--accelerator", "phone-npu-small"],
    "formats": ["formats", "int8"],
    "ask": ["ask", "sram-knee", "images=512"],
    "validate": ["validate"],
}
FIRST = {"validate": "space: "}


def test_what_ends_soon_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with StageProgress(2.0) as progress:
        progress("stage", 0, 2, "")
        progress("stage", 2, 2, "")
    assert capsys.readouterr().err == ""


def test_one_long_step_is_a_line_after_a_while(capsys: pytest.CaptureFixture[str]) -> None:
    with StageProgress(3600.0) as progress:
        progress("stage", 0, 2, "first")
        progress("stage", 1, 2, "second")
        progress._show()  # as the timer does, whose moment the test chooses
        progress("stage", 1, 2, "third")  # sooner than the next line
    assert capsys.readouterr().err == "stage: 1/2 second\n"


def test_a_terminal_gets_a_bar_that_goes_away(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with StageProgress(0.01) as progress:
        progress("stage", 0, 2, "first")
        time.sleep(0.3)
    shown = capsys.readouterr().err
    assert "first" in shown
    assert shown.endswith("\x1b[2K")  # its line is erased
    with StageProgress(2.0) as progress:
        progress("stage", 0, 2, "first")
    assert "first" not in capsys.readouterr().err


def asked(command: str, space: Path) -> list[str]:
    return [*LONG[command], str(space)] if command == "validate" else LONG[command]


@pytest.mark.parametrize("command", LONG)
def test_a_long_command_says_what_it_does(
    command: str, space: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module(f"codesign.commands.{command}"), "WAIT_S", 1e-4)
    assert main(asked(command, space)) == 0
    assert capsys.readouterr().err.startswith(FIRST.get(command, f"{command}: "))


def test_with_json_nothing_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codesign.commands.cost.WAIT_S", 1e-4)
    assert main([*LONG["cost"], "--json"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", LONG)
def test_with_quiet_nothing_is_said(
    command: str, space: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module(f"codesign.commands.{command}"), "WAIT_S", 1e-4)
    assert main([*asked(command, space), "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_with_quiet_a_search_says_its_files_alone(
    space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["search", str(space), "--out", str(out), "--quiet"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.splitlines()[-2:] == [str(out / "front.json"), str(out / "report.html")]
    assert "design" not in printed.out


def test_a_search_shows_the_front_and_what_to_do_next(
    space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["search", str(space), "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert " balanced" in printed.out
    assert printed.out.splitlines()[-1].startswith("next: open the report")
    assert ", front " in printed.err
