"""A study that is searched every night keeps the fronts of the nights before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codesign.cli import main
from codesign.designs import earlier, load_study


@pytest.mark.slow
def test_nights_are_kept_listed_and_compared(space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "nightly"
    search = ["search", str(space), "--out", str(out), "--evaluations"]
    assert main([*search, "3"]) == 0
    assert main([*search, "3"]) == 0  # nothing is left to do
    assert earlier(out) == []
    assert "earlier" not in capsys.readouterr().out
    assert main(["diff", str(out)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"The first front of {out}, or no night changed it")
    assert "shows no change beyond noise" in said

    first = load_study(out).front
    assert main([*search, "5"]) == 0
    (kept,) = earlier(out)
    assert f"earlier: the front of before is in {kept}" in capsys.readouterr().out
    assert load_study(kept).front == first

    assert main(["diff", str(out), "--json"]) in (0, 1)
    found = json.loads(capsys.readouterr().out)
    assert (found["old"], found["new"]) == (str(kept), str(out))
    assert "evaluations: 3 before, 5 now" in found["notes"]
    assert main(["diff", str(kept), str(out), "--json"]) in (0, 1)
    assert json.loads(capsys.readouterr().out) == found

    assert main(["status", str(out)]) == 0
    assert f"earlier fronts: 1, the last in {kept}" in capsys.readouterr().out
    assert main(["status", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["earlier"] == [str(kept)]
    assert main(["report", str(kept)]) == 0
    assert (kept / "report.html").exists()
