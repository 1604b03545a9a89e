"""How often each operation is done when very many work: real workers and a real ledger on Optuna's storage in memory.

There an operation takes no time and a worker is a thread that sleeps, so that a thousand fit on one core. What is
counted are operations; what they cost is measured elsewhere.
"""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import numpy as np
import optuna
from optuna.storages import BaseStorage
from scale_parts.operations import STUDY, TASK, Trials, quality
from scale_parts.tally import Tally

from codesign.quality import Quality
from codesign.search.queue.ledger import Ledger
from codesign.search.queue.queue import Queue
from codesign.search.queue.state import ENDED, RUNNING
from codesign.search.queue.worker import Worker, until_ended
from codesign.search.study.run import _POLL_S

_SPREAD = 0.2  # evaluations take as long as they are said to, more or less


class _Seen:
    """The storage as workers see it: what they ask is counted, and not what the ledger asks."""

    def __init__(self, storage: BaseStorage) -> None:
        self._storage = storage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)


class _Sleeping:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def assignment(self, packed: np.ndarray) -> np.ndarray:
        return packed

    def __call__(self, assignment: object, **_: object) -> Quality:
        time.sleep(self._seconds * random.uniform(1 - _SPREAD, 1 + _SPREAD))
        return quality()


def crowd(trials: Trials, workers: int, batch: int, seconds: float, rounds: int) -> dict[str, Any]:
    """Operations a finished trial, while there are trials for everybody: two rounds wait or run, as in a search."""
    tally = Tally()
    storage = optuna.storages.InMemoryStorage()
    seen: Any = tally.of(_Seen(storage))
    ledger = Ledger(storage, STUDY, trials.objectives, {"made by": "reports/benchmarks/scale.py"}, trials.choices)
    ledger.set_state(RUNNING)
    works = trials.works(batch * rounds)
    parts = [works[i * batch : (i + 1) * batch] for i in range(rounds)]
    for work in parts[0] + parts[1]:
        ledger.add(work)
    networks: dict[str, Any] = {TASK: _Sleeping(seconds)}
    members = [Worker(Queue(seen, ledger.study_id), networks, networks) for _ in range(workers)]
    threads = [threading.Thread(target=w.run, args=(until_ended(w.queue),)) for w in members]
    before, started = tally.counts(), time.monotonic()
    for thread in threads:
        thread.start()
    for index, part in enumerate(parts[:-1]):
        while ledger.poll(part):
            time.sleep(_POLL_S[1])
        if index + 2 < rounds:
            for work in parts[index + 2]:
                ledger.add(work)
    counts = {name: count - before[name] for name, count in tally.counts().items()}
    wall = time.monotonic() - started
    ledger.set_state(ENDED)
    for thread in threads:
        thread.join()
    done = counts["finish"]
    return {
        "workers": workers,
        "batch": batch,
        "evaluation_s": seconds,
        "trials": done,
        "wall_s": wall,
        "per_trial": {name: counts[name] / done for name in ("late", "read", "vain")},
        "open_at_a_look": counts["open"] / counts["read"],
    }
