"""A time budget is kept to within one evaluation, and what it cut short goes on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from codesign.formats import Assignment
from codesign.quality import Evaluator, Quality
from codesign.search import load_space, open_study, run_study
from codesign.search.study import run
from codesign.search.study.study import OpenStudy
from tests.search import SPACE

pytestmark = pytest.mark.slow

LONG = 40


class Timed(Evaluator):
    """Notes when evaluations begin; each takes a while."""

    begun: list[float] = []

    def __call__(self, assignment: Assignment, **options: Any) -> Quality:
        self.begun.append(time.monotonic())
        time.sleep(0.5)
        return super().__call__(assignment, **options)


def opened(folder: Path, **options: Any) -> OpenStudy:
    (folder / "tiny.yaml").write_text(SPACE)
    return open_study(load_space(folder / "tiny.yaml"), folder / "study", seed=0, **options)


@pytest.mark.parametrize("sampler", ["codesign", "random"])
def test_no_evaluation_begins_after_the_time_but_the_one_that_was_begun_with(tmp_path: Path, sampler: str) -> None:
    space = opened(tmp_path).space
    Timed.begun = []
    study = opened(tmp_path, evaluators={n: Timed(net.task) for n, net in space.networks.items()})
    started = time.monotonic()
    run_study(study, evaluations=LONG, timeout_s=4.0, sampler=sampler)
    after = [begun for begun in Timed.begun if begun > started + 4.0]
    assert len(after) <= 1
    assert 4 <= study.evaluations < LONG
    finished = [t for t in study.ledger.study.trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    assert len(finished) == study.evaluations == len(Timed.begun) - 1  # the first one tried the metric
    assert not [t for t in study.ledger.study.trials if t.state == TrialState.RUNNING]


def test_what_was_cut_short_goes_on_to_the_front_of_a_whole_run(tmp_path: Path) -> None:
    space = opened(tmp_path).space
    slow = opened(tmp_path, evaluators={n: Timed(net.task) for n, net in space.networks.items()})
    run_study(slow, evaluations=16, timeout_s=3.5)
    assert slow.evaluations < 16
    again = opened(tmp_path)
    run_study(again, evaluations=16)
    (tmp_path / "other").mkdir()
    whole = opened(tmp_path / "other")
    run_study(whole, evaluations=16)
    assert again.front().objectives.tolist() == whole.front().objectives.tolist()
    assert again.evaluations == 16


def test_worker_processes_end_with_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a batch: what is measured counts, what waits stays."""
    monkeypatch.setenv("SLOW_TINY_S", "1.5")
    over: list[int] = []
    monkeypatch.setattr(run._Run, "late", property(lambda _: bool(over)))

    def progress(stage: str, done: int, *_: object) -> None:
        if stage == "evaluations" and done > 4:  # the uniform ones
            over.append(done)

    file = tmp_path / "tiny.yaml"
    file.write_text(SPACE.replace("tests.tiny", "tests.storage.slow_tiny"))
    study = open_study(load_space(file), tmp_path / "study", seed=0, workers=2)
    run_study(study, evaluations=LONG, progress=progress)
    assert 4 < study.evaluations < 12
    assert [t for t in study.ledger.study.trials if t.state == TrialState.WAITING]
    assert not [t for t in study.ledger.study.trials if t.state == TrialState.RUNNING]
