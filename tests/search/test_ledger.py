"""The ledger of a study: whose study it is, what is known of a candidate, and what is tried again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from codesign.errors import InputError
from codesign.quality import Quality
from codesign.search.queue import queue
from codesign.search.queue import storage as storages
from codesign.search.queue.ledger import Ledger
from codesign.search.queue.queue import SILENCE_S
from codesign.search.queue.state import ENDED, RUNNING, study_state
from codesign.search.queue.trials import Failure, TrialResult, Work
from codesign.search.space.objectives import Objective

OBJECTIVES = [Objective("net.quality", "", "net", "quality"), Objective("area_mm2", "mm2", None, "area_mm2")]
IDENTITY = {
    "space_hash": "c0ffee",
    "space": json.dumps({"hardware": {"rows": [2, 4]}}),
    "code_version": "1",
    "task_code": "t1",
    "seed": "0",
    "ranges": "mse",
}
CHOICES = {"rows": ("2", "4")}


def work(i: int = 0) -> Work:
    return Work(f"{i}|net=0", {"net": [0]}, ("net", 1.0), {"rows": "4"}, "test")


def result(i: int = 0, value: float = 3.0) -> TrialResult:
    quality = {"net": Quality("loss", "", "minimize", value, 0.0, 9.0, 1)}
    return TrialResult(work(i).key, (value, 1.0), quality, {"net": [0]}, {"rows": "4"}, "test", 0.5)


@pytest.fixture
def storage() -> BaseStorage:
    return InMemoryStorage()


def opened(storage: BaseStorage, must_exist: bool = False, **changed: str) -> Ledger:
    return Ledger(storage, "s", OBJECTIVES, IDENTITY | changed, CHOICES, must_exist=must_exist)


def trials(ledger: Ledger) -> list[FrozenTrial]:
    return list(ledger.study.get_trials(deepcopy=False))


def take(ledger: Ledger) -> int:
    """Claim the first trial that waits, as a worker does."""
    trial = ledger.queue.waiting()[0]
    assert ledger.queue.claim(trial)
    return int(trial._trial_id)


# ---- whose study it is ----------------------------------------------------------------------------


def test_a_new_study_says_what_it_is(storage: BaseStorage) -> None:
    ledger = opened(storage)
    assert not ledger.resumed
    study = optuna.load_study(study_name="s", storage=storage)
    assert study.user_attrs == IDENTITY
    assert study.metric_names == ["net.quality", "area_mm2"]
    assert [direction.name for direction in study.directions] == ["MINIMIZE"] * 2


def test_a_study_goes_on_with_what_it_knows(storage: BaseStorage) -> None:
    first = opened(storage)
    first.add(work())
    first.queue.finish(take(first), result())
    second = opened(storage, must_exist=True)
    assert second.resumed
    assert second.get(work().key) == result()
    second.add(work())
    assert len(trials(second)) == 1


def test_only_a_study_that_is_there_is_resumed(storage: BaseStorage) -> None:
    with pytest.raises(InputError, match="no study 's' to resume in this storage; valid: none"):
        opened(storage, must_exist=True)
    for name in ("b", "a"):
        optuna.create_study(study_name=name, storage=storage)
    with pytest.raises(InputError, match=r"valid: a, b$"):
        opened(storage, must_exist=True)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"seed": "1"}, "was made with seed 0, now 1: results cannot be mixed"),
        ({"ranges": "minmax"}, "was made with ranges mse, now minmax"),
        ({"space_hash": "decaf"}, "was made with another space .space_hash c0ffee, now decaf."),
        (
            {"space_hash": "decaf", "space": json.dumps({"hardware": {"rows": [2, 8]}})},
            r"was made with another space \(hardware.rows: \[2, 4\] before, \[2, 8\] now\)",
        ),
    ],
)
def test_a_study_of_something_else_is_refused(storage: BaseStorage, changed: dict[str, str], why: str) -> None:
    opened(storage).add(work())
    with pytest.raises(InputError, match=f"study 's' {why}"):
        opened(storage, **changed)


def test_the_words_of_a_space_alone_do_not_matter(storage: BaseStorage) -> None:
    opened(storage).add(work())
    assert opened(storage, space="{}").resumed


@pytest.mark.parametrize(("key", "refused"), [("ranges", False), ("task_code", False), ("seed", True)])
def test_only_what_older_studies_do_not_have_may_be_missing(storage: BaseStorage, key: str, refused: bool) -> None:
    older = {name: value for name, value in IDENTITY.items() if name != key}
    Ledger(storage, "s", OBJECTIVES, older, CHOICES).add(work())
    if refused:
        with pytest.raises(InputError, match=f"study 's' in this storage was not made by codesign: it has no {key}"):
            opened(storage)
    else:
        assert opened(storage).resumed


def begun(storage: BaseStorage, objectives: int = 2, metric_names: list[str] | None = None, **written: str) -> None:
    """A study whose first process died before it had written all attributes."""
    study = optuna.create_study(study_name="s", storage=storage, directions=["minimize"] * objectives)
    if metric_names:
        with storages.quiet():
            study.set_metric_names(metric_names)
    for key, value in written.items():
        study.set_user_attr(key, value)


@pytest.mark.parametrize("metric_names", [None, ["net.quality", "area_mm2"]])
@pytest.mark.parametrize("written", [{}, {"space_hash": "c0ffee"}])
def test_a_study_whose_process_died_at_its_creation_is_begun_anew(
    storage: BaseStorage, metric_names: list[str] | None, written: dict[str, str]
) -> None:
    begun(storage, metric_names=metric_names, **written)
    assert not opened(storage).resumed
    assert optuna.load_study(study_name="s", storage=storage).user_attrs == IDENTITY


def foreign(**what: Any) -> Callable[[BaseStorage], None]:
    return lambda storage: begun(storage, **what)


def maximized(storage: BaseStorage) -> None:
    optuna.create_study(study_name="s", storage=storage, directions=["minimize", "maximize"])


def measured(storage: BaseStorage) -> None:
    begun(storage)
    optuna.load_study(study_name="s", storage=storage).add_trial(optuna.trial.create_trial(values=[1.0, 2.0]))


@pytest.mark.parametrize(
    "make",
    [
        foreign(owner="somebody"),
        foreign(space_hash="decaf"),
        foreign(objectives=1),
        foreign(metric_names=["loss", "accuracy"]),
        maximized,
        measured,
    ],
)
def test_a_study_of_somebody_else_is_refused_and_stays(
    storage: BaseStorage, make: Callable[[BaseStorage], None]
) -> None:
    make(storage)
    study = optuna.load_study(study_name="s", storage=storage)
    before = study.user_attrs
    with pytest.raises(InputError, match="study 's'"):
        opened(storage)
    assert study.user_attrs == before


# ---- what is known --------------------------------------------------------------------------------


def test_a_candidate_is_enqueued_once(storage: BaseStorage) -> None:
    ledger = opened(storage)
    for i in (0, 0, 1):
        ledger.add(work(i))
    assert [trial.user_attrs["key"] for trial in trials(ledger)] == [work(0).key, work(1).key]
    assert trials(ledger)[0].params == {"rows": "4"}
    opened(storage).add(work(1))  # another process reads that it waits
    assert len(trials(ledger)) == 2


def test_outcomes_are_read_as_they_come(storage: BaseStorage) -> None:
    ledger = opened(storage)
    works = [work(i) for i in range(3)]
    for each in works:
        ledger.add(each)
    assert ledger.poll(works) == 3
    assert ledger.get(works[0].key) is None
    ledger.queue.finish(take(ledger), result(0))
    ledger.queue.fail(take(ledger), "it is NaN")
    assert ledger.poll(works) == 1
    assert [ledger.get(each.key) for each in works] == [result(0), Failure(works[1].key, "it is NaN"), None]
    assert ledger.records() == [result(0)]
    ledger.queue.finish(take(ledger), result(2))
    assert ledger.poll(works) == 0
    assert ledger.numbered() == {0: result(0), 2: result(2)}


def test_what_is_known_is_not_asked_for_again(storage: BaseStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = opened(storage)
    ledger.add(work())
    ledger.queue.finish(take(ledger), result())
    ledger.poll([work()])
    monkeypatch.setattr(ledger, "_trials", lambda: pytest.fail("the storage is asked"))
    assert ledger.poll([work()]) == 0


def test_of_two_trials_of_a_candidate_the_first_to_finish_counts(storage: BaseStorage) -> None:
    ledger = opened(storage)
    for value in (3.0, 4.0):
        number = ledger._create(work(), [False])
        assert storage.set_trial_state_values(number, TrialState.RUNNING)
        ledger.queue.finish(number, result(value=value))
    again = opened(storage)
    assert again.get(work().key) == result(value=3.0)
    assert again.numbered() == {0: result(value=3.0)}


def test_trials_of_somebody_else_are_left_alone(storage: BaseStorage) -> None:
    ledger = opened(storage)
    ledger.study.add_trial(optuna.trial.create_trial(values=[1.0, 2.0]))
    again = opened(storage)
    assert again.records() == []


# ---- what is tried again --------------------------------------------------------------------------


def test_a_candidate_whose_worker_died_is_tried_three_times(storage: BaseStorage) -> None:
    ledger = opened(storage)
    ledger.add(work())
    for tries in (1, 2):
        ledger.queue.stop(take(ledger), "its worker stopped")
        assert ledger.poll([work()]) == 1
        assert [trial.state for trial in trials(ledger)] == [TrialState.FAIL] * tries + [TrialState.WAITING]
    ledger.queue.stop(take(ledger), "its worker stopped")
    assert ledger.poll([work()]) == 0
    assert ledger.get(work().key) == Failure(work().key, "its worker stopped, 3 times")
    assert len(trials(ledger)) == 3
    ledger.add(work())
    assert len(trials(ledger)) == 3


def test_a_trial_whose_worker_is_silent_is_enqueued_again(
    storage: BaseStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, later = time.monotonic(), [0.0]
    monkeypatch.setattr(queue.time, "monotonic", lambda: start + later[0])
    ledger = opened(storage)
    ledger.add(work())
    ledger.queue.beat(take(ledger), "elsewhere.1/2/abc", 0)
    assert ledger.poll([work()]) == 1
    later[0] = SILENCE_S + 1
    assert ledger.poll([work()]) == 1
    assert [trial.state for trial in trials(ledger)] == [TrialState.FAIL, TrialState.WAITING]
    assert trials(ledger)[0].user_attrs["stopped"] == "its worker stopped"


def test_a_stopped_trial_of_an_earlier_run_is_enqueued_anew(storage: BaseStorage) -> None:
    first = opened(storage)
    first.add(work())
    first.queue.stop(take(first), "its worker stopped")
    second = opened(storage)
    assert second.get(work().key) is None
    second.add(work())
    assert [trial.state for trial in trials(second)] == [TrialState.FAIL, TrialState.WAITING]


def test_a_trial_whose_creation_lost_its_answer_is_not_created_twice(
    storage: BaseStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = opened(storage)
    ledger.add(work(1))
    create, calls = storage.create_new_trial, []

    def lossy(*arguments: Any) -> int:
        number = create(*arguments)
        calls.append(number)
        if len(calls) == 1:
            raise optuna.exceptions.StorageInternalError("the answer was lost")
        return number

    monkeypatch.setattr(storage, "create_new_trial", lossy)
    monkeypatch.setattr(storages.time, "sleep", lambda _: None)
    ledger.add(work())
    assert len(calls) == 1
    assert [trial.user_attrs["key"] for trial in trials(ledger)] == [work(1).key, work(0).key]
    ledger.queue.finish(take(ledger), result(1))
    ledger.queue.finish(take(ledger), result(0))
    assert ledger.poll([work(0), work(1)]) == 0


def test_a_new_candidate_is_enqueued_without_reading_all_trials(
    storage: BaseStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = opened(storage)
    monkeypatch.setattr(ledger.study, "get_trials", lambda **_: pytest.fail("all trials are read"))
    ledger.add(work())
    assert len(ledger.queue.waiting()) == 1


def test_workers_read_what_the_study_says(storage: BaseStorage) -> None:
    ledger = opened(storage)
    ledger.set_attribute("told", "yes")
    assert storage.get_study_user_attrs(ledger.study_id)["told"] == "yes"
    for state in (ENDED, RUNNING):
        ledger.set_state(state)
        assert study_state(storage, ledger.study_id) == state
