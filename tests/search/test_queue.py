"""The queue of a study: who may write what, and when a worker counts as dead."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from codesign.quality import Quality
from codesign.search.queue import queue
from codesign.search.queue.queue import BEAT_S, SILENCE_S, Heartbeat, Queue, Watch, machine, now, signature, surely_gone
from codesign.search.queue.trials import ALIVE, FAILED, RESULT, STOPPED, TrialResult, Work, result_text, waiting_trial
from tests.waiting import wait_until

WORK = Work("0|net=0", {"net": [0]}, ("net", 1.0), {}, "test")
QUALITY = {"net": Quality("loss", "", "minimize", 3.0, 2.0, 4.0, 1)}


@pytest.fixture
def line() -> Queue:
    """A study with one trial that waits."""
    study = optuna.create_study(directions=["minimize"] * 2)
    study.add_trial(waiting_trial(WORK, {}))
    return Queue(study._storage, study._study_id)


def only(line: Queue) -> FrozenTrial:
    (trial,) = line.storage.get_all_trials(line.study_id)
    return trial


def claimed(line: Queue) -> int:
    (trial,) = line.waiting()
    assert line.claim(trial)
    return int(trial._trial_id)


def result(*values: float) -> TrialResult:
    return TrialResult(WORK.key, values, QUALITY, WORK.assignments, {}, "test", 0.5)


def test_a_trial_waits_until_one_worker_claims_it(line: Queue) -> None:
    (trial,) = line.waiting()
    assert line.claim(trial)
    assert line.waiting() == []
    assert not line.claim(trial)


def test_a_trial_that_has_ended_cannot_be_claimed(line: Queue) -> None:
    (trial,) = line.waiting()
    line.fail(trial._trial_id, "it is NaN")
    assert not line.claim(trial)
    assert only(line).state == TrialState.FAIL


def test_a_result_ends_its_trial(line: Queue) -> None:
    assert line.finish(claimed(line), result(3.0, 1.0))
    trial = only(line)
    assert (trial.state, trial.values) == (TrialState.COMPLETE, [3.0, 1.0])
    assert trial.user_attrs[RESULT] == result_text(QUALITY, 0.5)


def test_a_result_without_values_is_that_of_a_pruned_trial(line: Queue) -> None:
    assert line.finish(claimed(line), result())
    trial = only(line)
    assert (trial.state, trial.values) == (TrialState.PRUNED, None)
    assert trial.user_attrs[RESULT] == result_text(QUALITY, 0.5)


def test_an_end_without_a_result_says_why(line: Queue) -> None:
    number = claimed(line)
    assert line.fail(number, "it is NaN")
    assert only(line).state == TrialState.FAIL
    assert only(line).user_attrs[FAILED] == "it is NaN"
    assert STOPPED not in only(line).user_attrs


def test_a_stopped_trial_does_not_fail_its_candidate(line: Queue) -> None:
    assert line.stop(claimed(line), "its worker stopped")
    assert only(line).state == TrialState.FAIL
    assert only(line).user_attrs[STOPPED] == "its worker stopped"
    assert FAILED not in only(line).user_attrs


def test_a_result_comes_too_late_for_a_trial_that_was_taken_away(line: Queue) -> None:
    number = claimed(line)
    line.stop(number, "its worker stopped")
    assert not line.finish(number, result(3.0, 1.0))
    assert RESULT not in only(line).user_attrs


def test_an_end_whose_answer_was_lost_is_written_once(line: Queue) -> None:
    number = claimed(line)
    assert line.finish(number, result(3.0, 1.0))
    assert line.finish(number, result(3.0, 1.0))
    assert not line.fail(number, "no")


def test_a_heartbeat_says_whose_it_is_when_and_which(line: Queue) -> None:
    number = claimed(line)
    line.beat(number, "host.1/2/abc", 7)
    who, when, count = only(line).user_attrs[ALIVE].split(" ")
    assert (who, count) == ("host.1/2/abc", "7")
    assert abs((datetime.now(UTC) - datetime.fromisoformat(when)).total_seconds()) < 60
    assert datetime.fromisoformat(now()).utcoffset() is not None


def test_the_name_of_a_process_is_its_machine_its_number_and_chance() -> None:
    where, number, chance = signature().split("/")
    assert where == machine()
    assert int(number) == os.getpid()
    assert len(chance) == 8
    assert signature() != signature()


def test_a_machine_without_proc_has_a_name_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: Path) -> os.stat_result:
        raise FileNotFoundError

    space = Path("/proc/self/ns/pid").stat().st_ino
    assert machine().endswith(f".{space}")
    monkeypatch.setattr(Path, "stat", absent)
    assert machine.__wrapped__().endswith(".")


def ended() -> int:
    """The number of a process that is gone."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_only_a_process_that_ended_on_this_machine_is_surely_gone() -> None:
    gone = ended()
    assert surely_gone(f"{machine()}/{gone}/abc")
    assert not surely_gone(signature())
    assert not surely_gone(f"elsewhere.1/{gone}/abc")
    assert not surely_gone(f"{machine()}/none/abc")
    assert not surely_gone("")


def test_a_process_of_somebody_else_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_: int, __: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", forbidden)
    assert not surely_gone(f"{machine()}/1/abc")


class Clock:
    """The time as a watch sees it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(queue.time, "monotonic", lambda: self.now)


def running(sign: str | None) -> FrozenTrial:
    attrs = {} if sign is None else {ALIVE: sign}
    return create_trial(state=TrialState.RUNNING, user_attrs=attrs)


@pytest.mark.parametrize(("sign", "patience"), [("elsewhere.1/2/abc t 0", SILENCE_S), (None, BEAT_S)])
def test_a_worker_of_another_machine_is_dead_after_its_silence(
    monkeypatch: pytest.MonkeyPatch, sign: str | None, patience: float
) -> None:
    """The first heartbeat follows the claim at once, so that less patience is due without one."""
    clock, watch = Clock(monkeypatch), Watch()
    assert not watch.abandoned(running(sign))
    clock.now += patience
    assert not watch.abandoned(running(sign))
    clock.now += 0.5
    assert watch.abandoned(running(sign))


def test_a_heartbeat_begins_the_patience_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, watch = Clock(monkeypatch), Watch()
    for count in range(3):
        assert not watch.abandoned(running(f"elsewhere.1/2/abc t {count}"))
        clock.now += SILENCE_S + 1
    assert watch.abandoned(running("elsewhere.1/2/abc t 2"))


def test_a_worker_of_this_machine_that_ended_is_dead_at_once() -> None:
    assert Watch().abandoned(running(f"{machine()}/{ended()}/abc t 0"))
    assert not Watch().abandoned(running(f"{signature()} t 0"))


def test_heartbeats_keep_their_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where another trial is taken in between; a heartbeat that fails does not end them."""
    clock, beats = Clock(monkeypatch), []
    monkeypatch.setattr(queue, "BEAT_S", 0.02)

    class Noting(Queue):
        def __init__(self) -> None:
            pass

        def beat(self, trial_id: int, worker: str, count: int) -> None:
            beats.append((trial_id, worker, count))
            raise ConnectionError

    heartbeat = Heartbeat(Noting(), "host.1/2/abc")
    heartbeat.hold(1)
    wait_until(lambda: len(beats) == 1)
    heartbeat.hold(2)
    wait_until(lambda: len(beats) == 2)
    time.sleep(0.1)  # some rounds at the same time of the clock
    clock.now += 0.02
    wait_until(lambda: len(beats) == 4)
    assert sorted(beats) == [(trial_id, "host.1/2/abc", count) for trial_id in (1, 2) for count in (0, 1)]
    assert heartbeat.held() == [1, 2]
    for trial_id in (1, 2):
        heartbeat.release(trial_id)
    assert heartbeat.held() == []


def test_silence_is_of_twelve_heartbeats() -> None:
    assert (BEAT_S, SILENCE_S) == (5.0, 60.0)
