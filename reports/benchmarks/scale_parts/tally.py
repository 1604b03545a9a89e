"""Counting what is asked of a storage, operation by operation, by the names of operations.py."""

from __future__ import annotations

import multiprocessing
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from codesign.search.queue.trials import ALIVE

NAMES = ("create", "empty", "vain", "taken", "read", "open", "claim", "late", "beat", "finish", "state", "sign")


class Tally:
    """Counters that processes and threads share. Looks at the queue: read, where trials waited; vain, where all were
    taken; empty, where all were finished. open: the unfinished ones that were read, summed over the looks of `read`;
    taken: over those of `vain`.
    """

    def __init__(self) -> None:
        self._counts = multiprocessing.get_context("fork").Array("d", len(NAMES))

    def add(self, name: str, count: float = 1.0) -> None:
        with self._counts.get_lock():
            self._counts[NAMES.index(name)] += count

    def counts(self) -> dict[str, float]:
        with self._counts.get_lock():
            return dict(zip(NAMES, self._counts, strict=True))

    def of(self, storage: Any) -> Any:
        """The storage, which counts from now on."""
        replaced = ("create_new_trial", "get_all_trials", "set_trial_state_values", "set_trial_user_attr")
        replaced += ("get_study_user_attrs", "set_study_user_attr")
        for name in replaced:
            setattr(storage, name, getattr(self, f"_{name}")(getattr(storage, name)))
        return storage

    def _create_new_trial(self, call: Any) -> Any:
        return self._counted("create", call)

    def _get_study_user_attrs(self, call: Any) -> Any:
        return self._counted("state", call)

    def _set_study_user_attr(self, call: Any) -> Any:
        return self._counted("sign", call)

    def _counted(self, name: str, call: Any) -> Any:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.add(name)
            return call(*args, **kwargs)

        return counted

    def _get_all_trials(self, call: Any) -> Any:
        def counted(study_id: int, deepcopy: bool = True, states: Any = None) -> Any:
            trials = call(study_id, deepcopy=False)
            unfinished = sum(not t.state.is_finished() for t in trials)
            if any(t.state == TrialState.WAITING for t in trials):
                self.add("read")
                self.add("open", unfinished)
            else:
                self.add("vain" if unfinished else "empty")
                self.add("taken", unfinished)
            return trials if states is None else [t for t in trials if t.state in states]

        return counted

    def _set_trial_state_values(self, call: Any) -> Any:
        def counted(trial_id: int, state: TrialState, values: Any = None) -> Any:
            try:
                done = call(trial_id, state, values)
            except UpdateFinishedTrialError:
                self.add("late")
                raise
            self.add("finish" if state != TrialState.RUNNING else "claim" if done else "late")
            return done

        return counted

    def _set_trial_user_attr(self, call: Any) -> Any:
        def counted(trial_id: int, key: str, value: Any) -> Any:
            if key == ALIVE:  # what was measured is a part of finishing
                self.add("beat")
            return call(trial_id, key, value)

        return counted
