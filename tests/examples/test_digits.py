"""The example of a user's own network runs through the whole path."""

from __future__ import annotations

from pathlib import Path

import pytest

from codesign.report import write_report
from codesign.search import search

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_digits_example_ends_with_a_front_and_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn", reason="the example's data come from scikit-learn")
    monkeypatch.chdir(ROOT)
    study = search(ROOT / "search_spaces" / "digits.yaml", tmp_path / "study", evaluations=12)
    assert study.front.evaluations >= 8
    assert len(study.front) >= 4
    assert write_report(tmp_path / "study")[1].stat().st_size > 10_000
