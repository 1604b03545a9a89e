"""A study that goes on measures again what it knows, and stops where that comes out otherwise."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from codesign.cli import main
from codesign.formats import Assignment
from codesign.quality import Evaluator, Quality
from codesign.search import load_space, open_study, run_study
from codesign.search.study.sentinel import Sentinel
from codesign.search.study.sentinels import MovedError
from codesign.search.study.study import OpenStudy
from tests.search import SPACE


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("once")
    (folder / "tiny.yaml").write_text(SPACE)
    run_study(open_study(load_space(folder / "tiny.yaml"), folder / "study", seed=0), evaluations=8)
    return folder


@pytest.fixture
def known(once: Path, tmp_path: Path) -> Path:
    """A study of one run."""
    shutil.copytree(once, tmp_path / "known")
    return tmp_path / "known"


def opened(folder: Path) -> OpenStudy:
    return open_study(load_space(folder / "tiny.yaml"), folder / "study", seed=0, resume=True)


def shifted(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    """Every new measurement is off by a share of the interval's half."""
    again = Evaluator.again

    def off(self: Evaluator, assignment: Assignment) -> Quality:
        quality: dict[str, Any] = again(self, assignment).to_dict()
        quality["value"] += share * (quality["high"] - quality["value"])
        return Quality.from_dict(quality)

    monkeypatch.setattr(Evaluator, "again", off)


@pytest.mark.slow
def test_the_best_the_middle_and_the_worst_are_measured_again(known: Path) -> None:
    """Past the cache, and they come out the same."""
    study = opened(known)
    run_study(study, evaluations=8)
    assert [(s.rank, s.moved) for s in study.sentinels] == [("best", "no"), ("middle", "no"), ("worst", "no")]
    assert study.sentinels[0].before < study.sentinels[1].before < study.sentinels[2].before
    assert sum(e.measured for e in study.evaluators.values()) == 3


def test_a_new_study_has_no_sentinels_yet(once: Path, tmp_path: Path) -> None:
    study = open_study(load_space(once / "tiny.yaml"), tmp_path / "new", seed=0)
    run_study(study, evaluations=4)
    assert study.sentinels == []


def test_the_study_goes_on_where_they_moved_within_noise(known: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shifted(monkeypatch, 0.5)
    study = opened(known)
    run_study(study, evaluations=10)
    assert {s.moved for s in study.sentinels} == {"within noise"}
    assert study.evaluations == 10


def test_the_study_stops_where_they_moved_beyond_it(known: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything new is measured, and says what was and what is."""
    shifted(monkeypatch, 3.0)
    study = opened(known)
    before = len(study.ledger.study.trials)
    with pytest.raises(MovedError, match=r"'tiny' cannot go on: the best assignment of tiny measured .* and measures"):
        run_study(study, evaluations=20)
    assert len(study.ledger.study.trials) == before
    runs = json.loads(study.ledger.study.user_attrs["sentinels"])["runs"]
    assert len(runs) == 1
    assert len(runs[0]["values"]) == 3


def test_the_study_stops_where_they_became_better_too(known: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Better than what was measured is another measurement, too."""
    again = Evaluator.again

    def better(self: Evaluator, assignment: Assignment) -> Quality:
        quality: dict[str, Any] = again(self, assignment).to_dict()
        return Quality.from_dict(quality | {"value": quality["value"] - 3 * (quality["value"] - quality["low"])})

    monkeypatch.setattr(Evaluator, "again", better)
    study = opened(known)
    with pytest.raises(MovedError, match="cannot go on: the best assignment of tiny"):
        run_study(study, evaluations=20)


def test_at_the_door_a_moved_sentinel_is_one_line_and_code_1(
    known: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shifted(monkeypatch, 3.0)
    code = main(["search", str(known / "tiny.yaml"), "--out", str(known / "study"), "--resume", "--evaluations", "9"])
    said = capsys.readouterr().err.strip().splitlines()
    assert code == 1
    assert said[-1].startswith("codesign: error: study 'tiny' cannot go on")


def test_the_report_says_what_came_of_them(known: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(known / "tiny.yaml"), "--out", str(known / "study"), "--resume", "--evaluations", "9"]
    assert main(["search", *arguments]) == 0
    report = (known / "study" / "report.md").read_text()
    assert "3 known assignments were measured again: all came out the same" in report


def test_lower_is_better() -> None:
    assert Sentinel("tiny", "best", 1.0, 0.9, 1.1, 0.5).moved == "better"
    assert Sentinel("tiny", "best", 1.0, 0.9, 1.1, 1.2).moved == "worse"


def test_the_ends_of_the_interval_are_within_it_and_nothing_lost_again_is_no_move() -> None:
    for now in (0.9, 1.1):
        assert Sentinel("tiny", "best", 1.0, 0.9, 1.1, now).moved == "within noise"
    assert Sentinel("tiny", "best", 0.0, 0.0, 0.0, 0.0).moved == "no"


def test_digits_that_a_file_rounds_are_no_move_at_any_scale() -> None:
    for size in (1e-6, 1.0, 1e6):
        assert Sentinel("tiny", "best", size, 0.9 * size, 1.1 * size, size * (1 + 5e-10)).moved == "no"
        assert Sentinel("tiny", "best", size, 0.9 * size, 1.1 * size, size * (1 + 5e-9)).moved == "within noise"
        assert Sentinel("tiny", "best", size, 0.9 * size, 1.1 * size, 2 * size).moved == "worse"
