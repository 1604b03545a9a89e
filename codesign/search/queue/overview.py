"""Where a study stands: who leads it, what is done and what waits, and who works on it."""

from __future__ import annotations

from dataclasses import dataclass

from optuna.storages import BaseStorage
from optuna.study import StudySummary
from optuna.trial import FrozenTrial, TrialState

from codesign.errors import InputError, nearest
from codesign.search.queue.lease import current, in_words, last_beat
from codesign.search.queue.queue import machine, surely_gone
from codesign.search.queue.state import ENDED, RUNNING, study_state
from codesign.search.queue.storage import patient
from codesign.search.queue.trials import ALIVE, FAILED, STOPPED

_OURS = "space_hash"  # an attribute that our studies have


@dataclass(frozen=True)
class Holder:
    """A process that holds something of a study."""

    process: str  # in words
    alive: bool | None  # None: it runs on another machine, from where only its heartbeats are seen
    last_heartbeat: str | None  # by its own clock, UTC


@dataclass(frozen=True)
class Overview:
    """Where a study stands."""

    study: str
    state: str  # running, ended, or interrupted: neither led nor ended
    leader: Holder | None
    done: int  # evaluations on all samples
    pruned: int  # evaluations that were given up on a part of the samples
    waiting: int
    running: int
    failed: int  # candidates that cannot be measured
    stopped: int  # evaluations whose worker was gone; they were queued again
    workers: tuple[Holder, ...]  # those that evaluate something


def study_in(storage: BaseStorage, name: str | None) -> tuple[str, int]:
    """Name and id of a study: the one of this name, or the only one of ours.

    Raises InputError, naming those that there are, if that is none or not clear.
    """
    ours = {s.study_name: s._study_id for s in _summaries(storage) if _OURS in s.user_attrs}
    if name is None and len(ours) == 1:
        return next(iter(ours.items()))
    if name is None:
        raise InputError(f"give --study NAME: this storage holds {', '.join(sorted(ours)) or 'no study of codesign'}")
    if name not in ours:
        raise InputError(f"no study '{name}' in this storage{nearest(name, ours)}")
    return name, ours[name]


@patient
def _summaries(storage: BaseStorage) -> list[StudySummary]:
    from optuna import get_all_study_summaries

    return list(get_all_study_summaries(storage, include_best_trial=False))


@patient
def overview(storage: BaseStorage, name: str, study_id: int) -> Overview:
    """Where the study stands, as its storage has it."""
    trials = storage.get_all_trials(study_id, deepcopy=False)
    by = {state: [trial for trial in trials if trial.state == state] for state in TrialState}
    failed = [trial for trial in by[TrialState.FAIL] if FAILED in trial.user_attrs and STOPPED not in trial.user_attrs]
    holder = current(storage, study_id)
    leader = _holder(holder[0], last_beat(storage.get_study_user_attrs(study_id))) if holder else None
    led = leader is not None and leader.alive is not False
    return Overview(
        study=name,
        state=RUNNING if led else ENDED if study_state(storage, study_id) == ENDED else "interrupted",
        leader=leader,
        done=len(by[TrialState.COMPLETE]),
        pruned=len(by[TrialState.PRUNED]),
        waiting=len(by[TrialState.WAITING]),
        running=len(by[TrialState.RUNNING]),
        failed=len(failed),
        stopped=len(by[TrialState.FAIL]) - len(failed),
        workers=_workers(by[TrialState.RUNNING]),
    )


def _workers(running: list[FrozenTrial]) -> tuple[Holder, ...]:
    """The workers of these trials, each with its latest heartbeat."""
    latest: dict[str, str] = {}
    for trial in running:
        worker, _, beat = trial.user_attrs.get(ALIVE, "").partition(" ")
        if worker:
            latest[worker] = max(latest.get(worker, ""), beat.rpartition(" ")[0])
    return tuple(_holder(worker, beat or None) for worker, beat in sorted(latest.items()))


def _holder(signature: str, beat: str | None) -> Holder:
    here = signature.startswith(f"{machine()}/")
    return Holder(in_words(signature), not surely_gone(signature) if here else None, beat)
