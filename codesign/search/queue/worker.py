"""A worker: claims waiting trials of a study, measures them and writes the results, until the study ends."""

from __future__ import annotations

import contextlib
import json
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import optuna
import torch
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from codesign.errors import InputError, nearest
from codesign.formats import FormatPair
from codesign.quality import Evaluator, Quality, UnmeasurableError
from codesign.quality.cache import code_version
from codesign.search.queue.queue import Heartbeat, Queue, signature
from codesign.search.queue.state import ENDED, study_state
from codesign.search.queue.storage import patient
from codesign.search.queue.trials import WORK, Failure, TrialResult, Work, work_of
from codesign.search.space.loading import load_written
from codesign.search.space.network import Network
from codesign.search.space.resolve import SearchSpace
from codesign.search.space.written import TaskSpec
from codesign.usercode import UserCodeError

WORKPLACE = "workplace"
_OTHERS = {
    "seed": "another seed",
    "data": "other data",
    "metric": "another metric",
    "code": "other code",
    "fingerprint": "other weights",
}  # of `Task.facts`
_IDLE_S = (0.005, 0.5)  # first and longest pause between two reads of an empty queue
_AHEAD, _AHEAD_S = 0.2, 1.0  # the next trial is claimed before the end of the current one: share of it, most seconds


def workplace(space: SearchSpace) -> str:
    """What a worker on another machine needs to know of the space, as JSON for a study attribute."""
    tasks = {
        name: {"task": space.spec.tasks[name].task, "ranges": network.ranges, "facts": space.facts[name]}
        | {"written": space.spec.tasks[name].model_dump(mode="json", exclude_defaults=True)}
        for name, network in space.networks.items()
    }
    written = {"folder": str(space.path.parent.resolve()), "pairs": list(map(str, space.pairs)), "tasks": tasks}
    return json.dumps(written | {"torch": torch.__version__})


class Worker:
    """Measures the trials of one study; `networks` and `evaluators` are by task."""

    def __init__(self, queue: Queue, networks: Mapping[str, Network], evaluators: Mapping[str, Evaluator]) -> None:
        self.queue = queue
        self.name = signature()
        self._networks = networks
        self._evaluators = evaluators
        self._seen: list[FrozenTrial] = []  # trials that were waiting when the queue was last read
        self._random = random.Random(self.name)
        self._looking = threading.RLock()
        self._writer, self._taker = ThreadPoolExecutor(max_workers=1), ThreadPoolExecutor(max_workers=1)
        self._heartbeat = Heartbeat(queue, self.name)
        self._given_up = False
        self.done = 0

    def run(self, stop: Callable[[], bool]) -> None:
        """Measure trials until `stop` returns True; it is called before a trial is claimed.

        The result of a trial is written, and the queue read, while the next trial is measured. That one is claimed
        shortly before the current one is expected to end, and returned to the queue if `stop` is True by then; where
        this is interrupted, all that it holds is.
        """
        try:
            self._run(stop)
        except KeyboardInterrupt:
            self._give_back()
            raise

    def _give_back(self) -> None:
        """Return the trials that this worker holds to the queue, as far as the storage answers."""
        self._taker.shutdown()
        self._writer.shutdown()  # what was measured is written
        for trial_id in self._heartbeat.held():
            with contextlib.suppress(Exception):  # its heartbeats end: the coordinator will find out
                self.queue.stop(trial_id, "its worker was told to stop")

    def _run(self, stop: Callable[[], bool]) -> None:
        pause, trial, usual_s = _IDLE_S[0], None, 0.0
        writes: deque[Future[None]] = deque()
        while trial is not None or not stop():
            while writes and writes[0].done():
                writes.popleft().result()  # raises if it could not be written
            trial = trial or self._taken()
            if trial is None:
                time.sleep(pause)
                pause = min(1.2 * pause, _IDLE_S[1])
                continue
            started, ended = time.monotonic(), threading.Event()
            next_one = self._taker.submit(self._taken_later, usual_s - min(_AHEAD * usual_s, _AHEAD_S), ended, stop)
            try:
                found, pause = self._outcome(work_of(trial)), _IDLE_S[0]
            except KeyboardInterrupt:
                self._given_up = True
                raise
            finally:
                ended.set()
            usual_s = time.monotonic() - started
            writes.append(self._writer.submit(self._write, trial._trial_id, found))
            trial = next_one.result()
            if trial is not None and stop():
                self.queue.stop(trial._trial_id, "its worker was told to stop")
                trial = None
        for write in writes:
            write.result()

    def _taken_later(self, wait_s: float, ended: threading.Event, stop: Callable[[], bool]) -> FrozenTrial | None:
        """Claim the next trial, after `wait_s` or when the current one has ended, whichever comes first."""
        ended.wait(wait_s)
        return None if self._given_up or stop() else self._taken()

    def _taken(self) -> FrozenTrial | None:
        """Claim a waiting trial; None if there is none. The queue is read only when all trials seen before are used up.

        Trials are claimed in order. After losing one to another worker, the next is drawn at random, so that the
        workers do not compete for every trial.
        """
        with self._looking:
            self._look()
            place = 0
            while self._seen:
                trial = self._seen.pop(place)
                if self.queue.claim(trial):
                    self._heartbeat.hold(trial._trial_id)
                    return trial
                place = self._random.randrange(max(len(self._seen), 1))
            return None

    def _look(self) -> None:
        """Read the queue, if all trials seen before are used up."""
        with self._looking:
            if not self._seen:
                self._seen = [trial for trial in self.queue.waiting() if WORK in trial.user_attrs]

    def measure(self, trial_id: int, work: Work) -> TrialResult | Failure:
        """Measure a trial that this worker has claimed, and write its outcome."""
        self._heartbeat.hold(trial_id)
        found = self._outcome(work)
        self._write(trial_id, found)
        return found

    def _outcome(self, work: Work) -> TrialResult | Failure:
        started = time.monotonic()
        try:
            quality = {name: self._quality(name, work) for name in work.assignments}
        except (UnmeasurableError, UserCodeError) as error:
            return Failure(work.key, str(error))
        seconds = time.monotonic() - started
        return TrialResult(
            work.key, work.values(quality), quality, work.assignments, work.hardware, work.proposed_by, seconds
        )

    def _write(self, trial_id: int, found: TrialResult | Failure) -> None:
        if isinstance(found, Failure):
            self.queue.fail(trial_id, found.reason)
        else:
            self.done += self.queue.finish(trial_id, found)
        self._heartbeat.release(trial_id)
        self._look()

    def _quality(self, name: str, work: Work) -> Quality:
        assignment = self._networks[name].assignment(np.array(work.assignments[name]))
        if name in work.enough:
            return self._evaluators[name](assignment, enough=work.enough[name])
        return self._evaluators[name](assignment)


def join_study(storage: BaseStorage, name: str, *, cache: Path | None) -> Worker:
    """A worker for the study `name`, with the same networks as its coordinator.

    Args:
        storage: the storage that holds the study.
        name: the study's name.
        cache: folder of cached results; None for no cache.
    Raises:
        InputError: there is no such study, or code or networks on this machine differ from the study's.
    """
    study = _found(storage, name)
    attrs = study.user_attrs
    if WORKPLACE not in attrs:
        raise InputError(f"study '{name}' in this storage was not made by codesign: it has no {WORKPLACE}")
    if attrs.get("code_version") != code_version():
        raise InputError(
            f"study '{name}' is of code_version {attrs.get('code_version')}, this machine has {code_version()}: "
            "install the same codesign here"
        )
    place = json.loads(attrs[WORKPLACE])
    if place.get("torch", torch.__version__) != torch.__version__:
        raise InputError(
            f"study '{name}' is measured with torch {place['torch']}, this machine has {torch.__version__}: values of "
            "two versions cannot be mixed; install the same here"
        )
    pairs = tuple(FormatPair.parse(text) for text in place["pairs"])
    networks, evaluators = {}, {}
    for task_name, spec in place["tasks"].items():
        written = TaskSpec.model_validate(spec.get("written", {"task": spec["task"]}))
        task = load_written(written, task_name, Path(place["folder"]))
        here, there = task.facts(), spec["facts"]
        other = next((what for what in here if here[what] != there[what]), None)
        if other is not None:
            where = f" ({task.file})" if task.file else ""
            raise InputError(
                f"{task_name}: '{spec['task']}'{where} has {_OTHERS[other]} here than in the study '{name}'"
            )
        load = task.workload()
        networks[task_name] = Network(task, load, pairs, np.ones((len(load.layers), len(pairs)), dtype=bool))
        evaluators[task_name] = Evaluator(task, cache=cache, ranges=spec["ranges"])
    return Worker(Queue(storage, study._study_id), networks, evaluators)


@patient
def _found(storage: BaseStorage, name: str) -> optuna.Study:
    known = [s.study_name for s in optuna.get_all_study_summaries(storage, include_best_trial=False)]
    if name not in known:
        raise InputError(f"no study '{name}' in this storage{nearest(name, known)}")
    return optuna.load_study(study_name=name, storage=storage, sampler=optuna.samplers.RandomSampler())


def until_ended(queue: Queue, parent: int | None = None) -> Callable[[], bool]:
    """A function that tells whether the coordinator has ended the study, or the parent process has ended.

    The storage is queried at most twice per second, not before every trial.

    Args:
        queue: the study's queue.
        parent: id of the process that started this one; None if the worker was started by hand.
    """
    asked, over = time.monotonic() - 1.0, False

    def ended() -> bool:
        nonlocal asked, over
        if parent is not None and os.getppid() != parent:
            return True
        if not over and time.monotonic() - asked >= 0.5:
            asked = time.monotonic()
            over = study_state(queue.storage, queue.study_id) == ENDED
        return over

    return ended


def single_threaded() -> None:
    """Make torch use one thread: sums over several threads may differ in their last bits, and with them the front."""
    torch.set_num_threads(1)


__all__ = ["WORKPLACE", "Worker", "join_study", "single_threaded", "until_ended", "workplace"]
