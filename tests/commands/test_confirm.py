"""``codesign confirm``: exit codes of the command; what it measures is tested in tests/hardware/calibration."""

from __future__ import annotations

from pathlib import Path

import pytest

from codesign.cli import main
from tests.hardware.calibration import tiny
from tests.report.synthetic import write_study


def test_without_a_synthesiser_the_exit_code_is_that_of_the_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study, cells = write_study(tmp_path / "study"), tmp_path / "cells.lib"
    cells.write_text(tiny.library())
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["confirm", str(study), "--liberty", str(cells), "-o", str(tmp_path / "out")]) == 3
    said = capsys.readouterr().err
    assert "no yosys: install it (apt-get install yosys)" in said
    assert said.count("\n") == 1
