"""What ``codesign doctor`` finds."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Sequence

import pytest

from codesign.cli import main
from codesign.commands import doctor

NEEDS = [
    "torch>=2.5",
    "no-such-package>=1",
    'brevitas>=0.12; extra == "brevitas"',
    'nowhere>=3; extra == "elsewhere"',
    'pytest>=8; extra == "test"',
]


def asked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], needs: Sequence[str]) -> tuple[int, str]:
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: list(needs))
    code = main(["doctor"])
    return code, capsys.readouterr().out


def test_it_tells_what_is_there_and_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = asked(monkeypatch, capsys, NEEDS)
    assert code == 1
    assert "no-such-package: missing: pip install 'no-such-package>=1'" in out
    assert "pip install 'codesign[elsewhere]'" in out
    assert "pip install 'codesign[test]'" not in out


def test_a_whole_installation_is_in_order(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(monkeypatch, capsys, NEEDS[:1])[0] == 0


def test_a_package_that_is_too_old_is_named_with_what_is_needed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = asked(monkeypatch, capsys, ["torch>=99"])
    assert code == 1
    assert "is installed, >=99 is needed" in out


def test_json_has_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert {each["name"] for each in told["packages"]} >= {"torch", "numpy", "optuna"}
    assert set(told["tools"]) == set(doctor.TOOLS)
    assert told["machine"]["rounding"].startswith("compiled loops")
