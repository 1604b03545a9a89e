"""Whole studies on the server: what a trial costs it, whether that grows, and whether the operations account for it."""

from __future__ import annotations

import multiprocessing
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import overhead
from scale_parts.operations import Trials, worker
from scale_parts.places import LEADER, WORKER, Count, Meter, Place
from scale_parts.tally import Tally

from codesign.search import load_space, open_study, run_study
from codesign.search.queue.ledger import Ledger
from codesign.search.queue.state import ENDED, RUNNING
from codesign.search.queue.storage import open_storage
from codesign.search.samplers.engine_strategy import EngineStrategy

_FORK = multiprocessing.get_context("fork")
WORKERS, SECONDS = 4, 0.1  # of each evaluation
COUNTED, HISTORY = 200, 500  # trials
_IDLE_S = 8.0


def study(place: Place) -> dict[str, Any]:
    """A study of the phone's space: what its first trials cost, and as many that come after some hundred others."""
    space, tables = load_space(overhead.SPACE), dict[str, np.ndarray]()
    share = SECONDS / len(space.networks)
    evaluators = {n: overhead.Supposed(network, tables, n, share) for n, network in space.networks.items()}
    database, tallies = place.database(), {LEADER: Tally(), WORKER: Tally()}
    meters = {role: Meter(place, role) for role in tallies}
    processes: list[multiprocessing.process.BaseProcess] = []
    moments: dict[str, _Moment] = {}
    ends = {0: "begin", COUNTED: "early", HISTORY: "late", HISTORY + COUNTED: "end"}

    def look(stage: str, done: int, *_: object) -> None:
        if stage != "evaluations":
            return
        if not processes:
            arguments = (place.url(database, WORKER), space.spec.name, space.networks, evaluators)
            with patch.object(overhead, "open_storage", lambda url: tallies[WORKER].of(open_storage(url))):
                processes.extend(_FORK.Process(target=overhead.work, args=arguments) for _ in range(WORKERS))
                for process in processes:
                    process.start()
        for number, name in ends.items():
            if done >= number and name not in moments:
                operations = {role: tally.counts() for role, tally in tallies.items()}
                moments[name] = done, {role: meter.now() for role, meter in meters.items()}, operations

    with tempfile.TemporaryDirectory() as folder:
        led = open_study(space, Path(folder), storage=place.url(database, LEADER), evaluators=evaluators, workers=0)
        led.tables = tables
        tallies[LEADER].of(led.ledger.storage)
        with _Watched(place) as connections:
            run_study(led, evaluations=HISTORY + COUNTED, progress=look, sampler=partial(EngineStrategy, race=False))
        for process in processes:
            process.join()
    return {
        "workers": WORKERS,
        "batch": space.spec.search.batch,
        "evaluation_s": SECONDS,
        "parts": [
            {"history": moments[a][0], **_between(moments[a], moments[b])}
            for a, b in (("begin", "early"), ("late", "end"))
        ],
        "connections_per_worker": {"mean": connections.mean / WORKERS, "most": connections.most / WORKERS},
    }


_Moment = tuple[int, dict[str, Count], dict[str, dict[str, float]]]  # trials; by role the counters and operations


def _between(before: _Moment, after: _Moment) -> dict[str, Any]:
    """By role, a trial: what the server counted, and the operations."""
    trials = after[0] - before[0]
    found: dict[str, Any] = {"trials": trials}
    for role in (LEADER, WORKER):
        count = (after[1][role] - before[1][role]) * (1 / trials)
        operations = {name: (n - before[2][role][name]) / trials for name, n in after[2][role].items()}
        found[role] = {"statements": count.statements, "transactions": count.transactions, "operations": operations}
    found |= {"wal_bytes": count.wal_bytes, "wire_bytes": count.wire_bytes, "server_ms": 1000 * count.server_s}
    return found


class _Watched:
    """Connections of the workers, ten times a second."""

    def __init__(self, place: Place) -> None:
        self._connection = place.connect()
        self._ended, self._seen = threading.Event(), list[int]()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        asked = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s"
        while not self._ended.wait(0.1):
            self._seen.append(self._connection.execute(asked, [WORKER]).fetchone()[0])

    def __enter__(self) -> _Watched:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def mean(self) -> float:
        full = [n for n in self._seen if n >= WORKERS]
        return float(np.mean(full)) if full else float("nan")

    @property
    def most(self) -> int:
        return max(self._seen)


def idle(place: Place, trials: Trials) -> dict[str, float]:
    """Statements, transactions and bytes a second, and connections, of a worker that finds nothing to do."""
    database = place.database()
    ledger: Ledger = trials.ledger(place.url(database, LEADER))
    ledger.set_state(RUNNING)
    processes = [_FORK.Process(target=worker, args=(place.url(database, WORKER),)) for _ in range(WORKERS)]
    for process in processes:
        process.start()
    time.sleep(_IDLE_S / 2)  # until their pauses are as long as they become
    meter = Meter(place, WORKER)
    before = meter.now()
    time.sleep(_IDLE_S)
    found = (meter.now() - before) * (1 / (WORKERS * _IDLE_S))
    asked = place.connect().execute("SELECT count(*) FROM pg_stat_activity WHERE usename = %s", [WORKER])
    ledger.set_state(ENDED)
    for process in processes:
        process.join()
    rates = {"statements": found.statements, "transactions": found.transactions, "wire_bytes": found.wire_bytes}
    return rates | {"connections": asked.fetchone()[0] / WORKERS}
