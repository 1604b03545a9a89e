"""Whether a study is led, or has ended: what its coordinator tells workers."""

from __future__ import annotations

from optuna.storages import BaseStorage

from codesign.search.queue.storage import patient

_STATE = "state"
ENDED, RUNNING = "ended", "running"


@patient
def study_state(storage: BaseStorage, study_id: int) -> str:
    """`RUNNING` or `ENDED`, as its coordinator said last."""
    return str(storage.get_study_user_attrs(study_id).get(_STATE, RUNNING))


@patient
def set_state(storage: BaseStorage, study_id: int, state: str) -> None:
    """Say it: `RUNNING` or `ENDED`."""
    storage.set_study_user_attr(study_id, _STATE, state)
