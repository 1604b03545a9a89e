"""A study as a queue: trials wait, one worker takes each, and a worker that stopped gives it back."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import threading
import time
import uuid
from pathlib import Path

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from codesign.search.queue.storage import patient
from codesign.search.queue.trials import ALIVE, FAILED, RESULT, STOPPED, TrialResult, result_text

BEAT_S = 5.0  # between two signs of life
SILENCE_S = 12 * BEAT_S  # after which a worker of another machine counts as stopped


@functools.cache
def machine() -> str:
    """This host and its space of process numbers: in a container, numbers mean other processes."""
    try:
        space = str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        space = ""
    return f"{socket.gethostname()}.{space}"


def signature() -> str:
    """A name that no other process has: machine/process/random."""
    return f"{machine()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"


def surely_gone(name: str) -> bool:
    """Whether the process that signed so ran on this machine and is no more."""
    where, _, rest = name.rpartition("/")[0].rpartition("/")
    if where != machine() or not rest.isdigit():
        return False
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


class Queue:
    """The trials of one study, by what a worker does with them."""

    def __init__(self, storage: BaseStorage, study_id: int) -> None:
        self.storage = storage
        self.study_id = study_id

    @patient
    def waiting(self) -> list[FrozenTrial]:
        return list(self.storage.get_all_trials(self.study_id, deepcopy=False, states=(TrialState.WAITING,)))

    @patient
    def claim(self, trial: FrozenTrial) -> bool:
        """Take a waiting trial; False where another worker was faster."""
        try:
            return bool(self.storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING))
        except UpdateFinishedTrialError:
            return False

    def beat(self, trial_id: int, worker: str, count: int) -> None:
        """A sign of life; one that is lost is no harm. A count, not a time: clocks differ, and are moved."""
        self.storage.set_trial_user_attr(trial_id, ALIVE, f"{worker} {count}")

    @patient
    def finish(self, trial_id: int, record: TrialResult) -> bool:
        """Write what was measured, whole; False where the trial was given to someone else meanwhile."""
        written = result_text(record.quality, record.seconds)
        if not record.values:
            return self._end(trial_id, RESULT, written, TrialState.PRUNED, None)
        return self._end(trial_id, RESULT, written, TrialState.COMPLETE, record.values)

    @patient
    def fail(self, trial_id: int, reason: str) -> bool:
        """Write that the candidate has no quality, and why."""
        return self._end(trial_id, FAILED, reason, TrialState.FAIL, None)

    @patient
    def stop(self, trial_id: int, reason: str) -> bool:
        """Take a trial from a worker that is gone: it says nothing of the candidate."""
        return self._end(trial_id, STOPPED, reason, TrialState.FAIL, None)

    def _end(self, trial_id: int, key: str, value: str, state: TrialState, values: tuple[float, ...] | None) -> bool:
        try:
            self.storage.set_trial_user_attr(trial_id, key, value)
            self.storage.set_trial_state_values(trial_id, state, values)
        except UpdateFinishedTrialError:
            return bool(self.storage.get_trial(trial_id).state == state)  # done already, the answer was lost
        return True


class Heartbeat:
    """Signs of life of a worker, for every trial that it holds: one at once, then one every BEAT_S."""

    def __init__(self, queue: Queue, worker: str) -> None:
        self._queue, self._worker = queue, worker
        self._held: dict[int, tuple[int, float]] = {}  # trial -> number of its next sign, and when that is due
        self._more = threading.Event()
        self._thread: threading.Thread | None = None

    def hold(self, trial_id: int) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        self._held[trial_id] = (0, time.monotonic())
        self._more.set()

    def release(self, trial_id: int) -> None:
        self._held.pop(trial_id, None)

    def _run(self) -> None:
        while True:
            self._more.wait(BEAT_S if self._held else None)
            self._more.clear()
            for trial_id, (count, due) in list(self._held.items()):
                if time.monotonic() < due:
                    continue
                with contextlib.suppress(Exception):  # the next one may reach the storage
                    self._queue.beat(trial_id, self._worker, count)
                if trial_id in self._held:
                    self._held[trial_id] = (count + 1, due + BEAT_S)


class Watch:
    """Which running trials have nobody working on them any more, by this process's own clock."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[str, float]] = {}

    def abandoned(self, trial: FrozenTrial) -> bool:
        """Whether a RUNNING trial's worker is known to be gone, or has been silent for too long."""
        sign, now = trial.user_attrs.get(ALIVE, ""), time.monotonic()
        worker = sign.partition(" ")[0]
        if surely_gone(worker):
            return True
        known = self._seen.get(trial._trial_id)
        if known is None or known[0] != sign:
            self._seen[trial._trial_id] = (sign, now)
            return False
        return now - known[1] > (SILENCE_S if worker else BEAT_S)  # who takes a trial signs at once
