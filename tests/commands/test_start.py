"""A command loads what it needs and no more, so that it answers at once."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from codesign.cli import main

LOADED = """
import contextlib, io, sys
from codesign.cli import main
for command in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            assert main(command.split()) == 0
        except SystemExit as end:
            assert end.code == 0
print(*(name for name in ("torch", "optuna", "scipy.stats", "sqlalchemy", "rich", "numpy") if name in sys.modules))
"""


def loaded(*commands: str) -> set[str]:
    """Which of the packages that take long to load a process has after these commands."""
    done = subprocess.run([sys.executable, "-c", LOADED, *commands], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_help_loads_nothing_that_takes_long() -> None:
    assert loaded("--version", "--help", "search --help") == set()


def test_a_unit_is_priced_without_torch_and_without_a_study() -> None:
    assert loaded("mac int4 int4", "completion bash", "workloads") <= {"rich", "numpy"}


def test_threads_of_torch_wait_asleep_unless_the_user_wants_otherwise(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert main(["completion", "bash"]) == 0
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert main(["completion", "bash"]) == 0
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
    assert capsys.readouterr().out
