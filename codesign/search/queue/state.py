"""The state of a study, running or ended, which its coordinator publishes to the workers."""

from __future__ import annotations

from optuna.storages import BaseStorage

from codesign.search.queue.storage import patient

_STATE = "state"
ENDED, RUNNING = "ended", "running"


@patient
def study_state(storage: BaseStorage, study_id: int) -> str:
    """`RUNNING` or `ENDED`, as last set by the coordinator."""
    return str(storage.get_study_user_attrs(study_id).get(_STATE, RUNNING))


@patient
def set_state(storage: BaseStorage, study_id: int, state: str) -> None:
    """Set the state: `RUNNING` or `ENDED`."""
    storage.set_study_user_attr(study_id, _STATE, state)
