"""A time budget is kept to within one evaluation, and what it cut short goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from codesign.errors import InputError
from codesign.formats import Assignment
from codesign.quality import Evaluator, Quality
from codesign.search import load_space, open_study, run_study
from codesign.search.queue.worker import Worker
from codesign.search.study import run
from codesign.search.study.study import OpenStudy
from tests.search import SPACE
from tests.storage import slow_tiny
from tests.waiting import wait_until

LONG, IN_TIME = 40, 7  # evaluations: that are asked for, and that begin before the time is up


class Clock:
    """Stands for the module `time` in `run_study`: its time passes when the test says so."""

    now = 0.0
    sleep = staticmethod(time.sleep)

    def monotonic(self) -> float:
        return self.now


def opened(folder: Path, **options: Any) -> OpenStudy:
    folder.mkdir(exist_ok=True)
    (folder / "tiny.yaml").write_text(SPACE)
    return open_study(load_space(folder / "tiny.yaml"), folder / "study", seed=0, **options)


def cut_short(
    folder: Path, monkeypatch: pytest.MonkeyPatch, evaluations: int, sampler: str = "codesign"
) -> tuple[OpenStudy, int]:
    """A study whose time is up in the middle of its evaluation IN_TIME, and how often a network was measured, with
    once to try the metric. That evaluation ends when its worker was told to stop.
    """
    clock, awaited, begun = Clock(), threading.Event(), []
    told_to_stop: list[Callable[[], bool]] = []
    work = Worker.run

    class Outlasting(Evaluator):
        def __call__(self, assignment: Assignment, **limits: Any) -> Quality:
            begun.append(assignment)
            if len(begun) == 1 + IN_TIME:
                awaited.clear()
                wait_until(awaited.is_set)  # the search waits for this batch
                clock.now = 11.0
                wait_until(told_to_stop[0])
            return super().__call__(assignment, **limits)

    def watched(worker: Worker, stop: Callable[[], bool]) -> None:
        told_to_stop.append(stop)
        work(worker, stop)

    def progress(stage: str, *_: object) -> None:
        if stage == "evaluations":
            awaited.set()

    networks = opened(folder).space.networks
    study = opened(folder, evaluators={name: Outlasting(network.task) for name, network in networks.items()})
    with monkeypatch.context() as patch:
        patch.setattr(run, "time", clock)
        patch.setattr(Worker, "run", watched)
        run_study(study, evaluations=evaluations, timeout_s=10.0, sampler=sampler, progress=progress)
    return study, len(begun)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["codesign", "random"])
def test_no_evaluation_begins_after_the_time_and_the_one_under_way_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    study, begun = cut_short(tmp_path, monkeypatch, LONG, sampler)
    assert (begun, study.evaluations) == (1 + IN_TIME, IN_TIME)
    states = [t.state for t in study.ledger.study.trials]
    assert sum(state in (TrialState.COMPLETE, TrialState.PRUNED) for state in states) == IN_TIME
    assert TrialState.RUNNING not in states


@pytest.mark.slow
def test_what_was_cut_short_goes_on_to_the_front_of_a_whole_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, _ = cut_short(tmp_path, monkeypatch, 12)
    assert study.evaluations == IN_TIME
    again, whole = opened(tmp_path), opened(tmp_path / "other")
    for each in (again, whole):
        run_study(each, evaluations=12)
        assert each.evaluations == 12
    assert again.front().objectives.tolist() == whole.front().objectives.tolist()


@pytest.mark.slow
def test_in_no_time_nothing_is_started(tmp_path: Path) -> None:
    study = opened(tmp_path)
    with pytest.raises(InputError, match="no design was measured in the time given"):
        run_study(study, evaluations=4, timeout_s=0)
    assert study.ledger.study.trials == []
    run_study(study, evaluations=4)
    again = opened(tmp_path)
    run_study(again, evaluations=LONG, timeout_s=0)
    assert len(again.ledger.study.trials) == 4
    assert len(again.front())


@pytest.mark.long
@pytest.mark.slow
def test_worker_processes_end_with_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a batch: what is measured counts, what waits stays."""
    monkeypatch.setenv("SLOW_TINY_S", "0.4")
    monkeypatch.setattr(slow_tiny.Slow, "forward", lambda self, x: self.inner(x))  # slow in other processes only
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
