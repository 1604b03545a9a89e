"""A study as a queue: a trial waits, one worker claims it, and it returns to the queue if that worker dies."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from codesign.search.queue.storage import patient
from codesign.search.queue.trials import ALIVE, FAILED, RESULT, STOPPED, TrialResult, result_text

BEAT_S = 5.0  # between two heartbeats
SILENCE_S = 12 * BEAT_S  # without a heartbeat, after which a worker of another machine counts as dead


@functools.cache
def machine() -> str:
    """This host and its PID namespace, as process ids of a container name other processes outside of it."""
    try:
        space = str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        space = ""
    return f"{socket.gethostname()}.{space}"


def signature() -> str:
    """A unique name of this process: machine/process id/random."""
    return f"{machine()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"


def now() -> str:
    """The time in UTC, as people read it; nothing is decided by it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def surely_gone(name: str) -> bool:
    """Whether the process with this signature ran on this machine and has ended."""
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
    """The operations of a worker on the trials of one study."""

    def __init__(self, storage: BaseStorage, study_id: int) -> None:
        self.storage = storage
        self.study_id = study_id

    @patient
    def waiting(self) -> list[FrozenTrial]:
        """The trials that no worker has claimed."""
        return list(self.storage.get_all_trials(self.study_id, deepcopy=False, states=(TrialState.WAITING,)))

    @patient
    def claim(self, trial: FrozenTrial) -> bool:
        """Claim a waiting trial; False if another worker was faster."""
        try:
            return bool(self.storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING))
        except UpdateFinishedTrialError:
            return False

    def beat(self, trial_id: int, worker: str, count: int) -> None:
        """Write a heartbeat; losing one does no harm. Its counter counts; its time, as clocks differ, is to be read."""
        self.storage.set_trial_user_attr(trial_id, ALIVE, f"{worker} {now()} {count}")

    @patient
    def finish(self, trial_id: int, record: TrialResult) -> bool:
        """Write a trial's result and end it; False if the trial was taken from this worker in the meantime."""
        written = result_text(record.quality, record.seconds)
        if not record.values:
            return self._end(trial_id, RESULT, written, TrialState.PRUNED, None)
        return self._end(trial_id, RESULT, written, TrialState.COMPLETE, record.values)

    @patient
    def fail(self, trial_id: int, reason: str) -> bool:
        """End a trial as failed: its candidate has no quality, for this reason."""
        return self._end(trial_id, FAILED, reason, TrialState.FAIL, None)

    @patient
    def stop(self, trial_id: int, reason: str) -> bool:
        """End a trial whose worker is gone, which says nothing about the candidate."""
        return self._end(trial_id, STOPPED, reason, TrialState.FAIL, None)

    def _end(self, trial_id: int, key: str, value: str, state: TrialState, values: tuple[float, ...] | None) -> bool:
        try:
            self.storage.set_trial_user_attr(trial_id, key, value)
            self.storage.set_trial_state_values(trial_id, state, values)
        except UpdateFinishedTrialError:
            return bool(self.storage.get_trial(trial_id).state == state)  # an earlier call did it and lost its answer
        return True


class Heartbeat:
    """The heartbeats of a worker, for every trial that it holds: one immediately, then one every BEAT_S."""

    def __init__(self, queue: Queue, worker: str) -> None:
        self._queue, self._worker = queue, worker
        self._held: dict[int, tuple[int, float]] = {}  # trial -> its heartbeat counter, and when the next one is due
        self._more = threading.Event()
        self._thread: threading.Thread | None = None

    def hold(self, trial_id: int) -> None:
        """Start the heartbeats of a trial."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        self._held[trial_id] = (0, time.monotonic())
        self._more.set()

    def release(self, trial_id: int) -> None:
        """End the heartbeats of a trial."""
        self._held.pop(trial_id, None)

    def held(self) -> list[int]:
        """The trials with heartbeats."""
        return list(self._held)

    def _run(self) -> None:
        while True:
            self._more.wait(BEAT_S if self._held else None)
            self._more.clear()
            for trial_id, (count, due) in list(self._held.items()):
                if time.monotonic() < due:
                    continue
                with contextlib.suppress(Exception):  # the next heartbeat may reach the storage
                    self._queue.beat(trial_id, self._worker, count)
                if trial_id in self._held:
                    self._held[trial_id] = (count + 1, due + BEAT_S)


class Watch:
    """Detects running trials whose worker has died, by this process's own clock."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[str, float]] = {}  # trial -> its last heartbeat, and when that was first seen

    def abandoned(self, trial: FrozenTrial) -> bool:
        """Whether the worker of a RUNNING trial is known to have ended, or has sent no heartbeat for too long."""
        sign, now = trial.user_attrs.get(ALIVE, ""), time.monotonic()
        worker = sign.partition(" ")[0]
        if surely_gone(worker):
            return True
        known = self._seen.get(trial._trial_id)
        if known is None or known[0] != sign:
            self._seen[trial._trial_id] = (sign, now)
            return False
        return now - known[1] > (SILENCE_S if worker else BEAT_S)  # the first heartbeat follows the claim immediately
