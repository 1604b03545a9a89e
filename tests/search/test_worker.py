"""A worker at its queue: what it holds, what it gives back, what it says of itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from codesign.quality import Quality
from codesign.search.queue import queue
from codesign.search.queue.ledger import Ledger
from codesign.search.queue.queue import Heartbeat, Queue
from codesign.search.queue.trials import ALIVE, STOPPED, Work
from codesign.search.queue.worker import Worker
from codesign.search.space.objectives import Objective
from tests.waiting import wait_until


class Network:
    def assignment(self, choice: np.ndarray) -> np.ndarray:
        return choice


class Evaluating:
    """Takes as long as it is told, and tells how often it was asked."""

    def __init__(self, during: Callable[[int], object]) -> None:
        self.asked = 0
        self._during = during

    def __call__(self, assignment: np.ndarray, **_: Any) -> Quality:
        self.asked += 1
        self._during(self.asked)
        return Quality("loss", "", "minimize", float(assignment.sum()), 0.0, 9.0, 1)


@pytest.fixture
def ledger() -> Ledger:
    """Three trials that wait."""
    made = Ledger(optuna.storages.InMemoryStorage(), "s", [Objective("loss", "", "net", "quality")] * 2, {}, {})
    for i in range(3):
        made.add(Work(f"0|net={i}", {"net": [i]}, ("net", 1.0), {}, "test"))
    return made


def states(ledger: Ledger) -> list[TrialState]:
    return [trial.state for trial in ledger.study.get_trials(deepcopy=False)]


def test_a_worker_takes_all_that_wait(ledger: Ledger) -> None:
    evaluator = Evaluating(lambda _: None)
    worker = Worker(ledger.queue, {"net": Network()}, {"net": evaluator})
    worker.run(lambda: evaluator.asked == 3)
    assert states(ledger) == [TrialState.COMPLETE] * 3
    assert worker.done == 3


def test_what_was_taken_ahead_is_given_back_by_a_worker_that_is_stopped(ledger: Ledger) -> None:
    """The next trial is taken while one is measured; the time may be up when that ends."""
    stopped = threading.Event()

    def during(_: int) -> None:
        wait_until(lambda: states(ledger).count(TrialState.RUNNING) == 2)
        stopped.set()

    worker = Worker(ledger.queue, {"net": Network()}, {"net": Evaluating(during)})
    worker.run(stopped.is_set)
    assert states(ledger) == [TrialState.COMPLETE, TrialState.FAIL, TrialState.WAITING]
    assert STOPPED in ledger.study.trials[1].user_attrs
    works = [Work(f"0|net={i}", {"net": [i]}, ("net", 1.0), {}, "test") for i in range(3)]
    assert ledger.poll(works) == 2  # the given-back one waits again
    assert states(ledger)[1:] == [TrialState.FAIL, TrialState.WAITING, TrialState.WAITING]


def test_every_trial_that_is_held_shows_signs_of_life(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, then again and again, until it is released."""
    monkeypatch.setattr(queue, "BEAT_S", 0.02)
    trials = [trial for trial in ledger.queue.waiting() if ledger.queue.claim(trial)][:2]
    heartbeat = Heartbeat(ledger.queue, "host/1/abc")

    def signs() -> list[int]:
        found = [t.user_attrs.get(ALIVE, "x -1") for t in ledger.study.get_trials(deepcopy=False)]
        return [int(sign.rpartition(" ")[2]) for sign in found]

    def wait_for_signs(held: list[int]) -> None:
        before = signs()
        wait_until(lambda: all(signs()[i] > before[i] + 2 for i in held))

    for trial in trials:
        heartbeat.hold(trial._trial_id)
    wait_for_signs([0, 1])
    assert signs()[2] == -1
    heartbeat.release(trials[0]._trial_id)
    wait_for_signs([1])  # a sign of the released one may have been under way
    released = signs()[0]
    wait_for_signs([1])
    assert signs()[0] == released


def test_two_workers_never_hold_the_same_trial(ledger: Ledger) -> None:
    for i in range(3, 20):
        ledger.add(Work(f"0|net={i}", {"net": [i]}, ("net", 1.0), {}, "test"))
    measured: list[int] = []

    class Noting(Evaluating):
        def __call__(self, assignment: np.ndarray, **_: Any) -> Quality:
            measured.append(int(assignment[0]))
            return super().__call__(assignment)

    def work() -> None:
        own = Queue(ledger.storage, ledger.study_id)
        Worker(own, {"net": Network()}, {"net": Noting(lambda _: None)}).run(lambda: len(measured) >= 20)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(measured) == list(range(20))
    assert states(ledger) == [TrialState.COMPLETE] * 20
