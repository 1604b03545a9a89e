"""What each operation of coordinator and workers asks of a storage, and how many a second it takes.

Trials are those of a study of Llama 2 7B on the accelerators of search_spaces/phone.yaml: a pair for each of its
layers, the file's hardware parameters. Every client is a process of its own.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import numpy as np
from scale_parts.places import LEADER, WORKER, Count, Meter, Place, Proxy, in_process

from codesign.quality import Quality
from codesign.search.queue.ledger import Ledger
from codesign.search.queue.queue import Queue
from codesign.search.queue.state import ENDED, RUNNING, study_state
from codesign.search.queue.storage import open_storage
from codesign.search.queue.trials import TrialResult, Work
from codesign.search.queue.worker import Worker, until_ended
from codesign.search.space.objectives import Objective

STUDY, TASK = "scale", "llama2-7b"
_FEW, _TRIALS = 1, 201  # open while the queue is read
_LOOKS, _TIMES = 30, 4  # how often it is read, and other operations are repeated
_PAIRS = 16


class Trials:
    """Candidates that differ, of so many layers and these hardware axes."""

    def __init__(self, layers: int, choices: Mapping[str, Sequence[str]], objectives: Sequence[Objective]) -> None:
        self.layers, self.choices, self.objectives = layers, choices, objectives

    def works(self, count: int, seed: int = 0) -> list[Work]:
        rng = np.random.default_rng(seed)
        found = []
        for number in range(count):
            hardware = {axis: str(rng.choice(values)) for axis, values in self.choices.items()}
            packed = rng.integers(0, _PAIRS, self.layers).tolist()
            costs = rng.random(len(self.objectives) - 1).tolist()
            found.append(Work(f"{seed}-{number}", {TASK: packed}, (TASK, *costs), hardware, "engine"))
        return found

    def ledger(self, url: str) -> Ledger:
        return Ledger(
            open_storage(url), STUDY, self.objectives, {"made by": "reports/benchmarks/scale.py"}, self.choices
        )


def quality(value: float = 1.0) -> Quality:
    return Quality("perplexity", "", "minimize", value, value, value, 64)


def record(work: Work) -> TrialResult:
    found = {TASK: quality()}
    return TrialResult(work.key, work.values(found), found, work.assignments, work.hardware, work.proposed_by, 1.0)


def costs(place: Place, trials: Trials, *, proxied: bool) -> dict[str, dict[str, float]]:
    """Operation -> what one asks of PostgreSQL, of the proxy and of the client; directly or by way of a proxy.

    empty: a look at a queue without any; read: one at another, beside what it costs for each `open` trial; join: a
    finished trial, which every worker reads once.
    """
    database = place.database()
    in_process(trials.ledger, place.url(database, LEADER, counted=False))
    proxy = place.proxy(database) if proxied else None
    found = in_process(_costs, place, proxy, trials, proxy.url() if proxy else place.url(database, WORKER))
    return {name: asdict(count) for name, count in found.items()}


def _costs(place: Place, proxy: Proxy | None, trials: Trials, url: str) -> dict[str, Count]:
    ledger, works = trials.ledger(url), trials.works(_TRIALS)
    queue, meter = ledger.queue, Meter(place, proxy=proxy)

    def look() -> None:
        for _ in range(_LOOKS):
            queue.waiting()

    def every(do: Callable[[int], object], times: int = 1) -> Count:
        ids = [t._trial_id for t in waiting]
        return meter.of(lambda: [do(i) for _ in range(times) for i in ids], times * len(ids))

    found = {"empty": meter.of(look, _LOOKS)}
    for work in works[:_FEW]:
        ledger.add(work)
    queue.waiting()
    few = meter.of(look, _LOOKS)
    found |= {"create": meter.of(lambda: [ledger.add(w) for w in works[_FEW:]], _TRIALS - _FEW)}
    waiting = queue.waiting()
    found["open"] = (meter.of(look, _LOOKS) - few) * (1 / (_TRIALS - _FEW))
    found["read"] = few - found["open"] * _FEW
    found["claim"] = meter.of(lambda: [queue.claim(t) for t in waiting], _TRIALS)
    found["late"] = meter.of(lambda: [queue.claim(t) for _ in range(_TIMES) for t in waiting], _TIMES * _TRIALS)
    found["beat"] = every(lambda i: queue.beat(i, "host/1/abc", 1), _TIMES)
    found["state"] = every(lambda _: study_state(queue.storage, queue.study_id), _TIMES)
    found["sign"] = every(lambda i: queue.storage.set_study_user_attr(queue.study_id, "coordinator", str(i)), _TIMES)
    ids = {t.user_attrs["key"]: t._trial_id for t in waiting}
    found["finish"] = meter.of(lambda: [queue.finish(ids[w.key], record(w)) for w in works], _TRIALS)
    fresh = Queue(open_storage(url), queue.study_id)
    found["join"] = meter.of(fresh.waiting, _TRIALS) - found["read"] * (1 / _TRIALS)
    return found


class _Nothing:
    """A network and its evaluator that take no time."""

    def assignment(self, packed: np.ndarray) -> np.ndarray:
        return packed

    def __call__(self, assignment: object, **_: object) -> Quality:
        return quality()


def worker(url: str) -> None:
    """`codesign worker` with evaluations that take no time."""
    opened, nothing = open_storage(url), _Nothing()
    queue = Queue(opened, opened.get_study_id_from_name(STUDY))
    networks: dict[str, Any] = {TASK: nothing}
    Worker(queue, networks, networks).run(until_ended(queue))


def capacity(place: Place, trials: Trials, workers: int, count: int, proxied: bool) -> dict[str, float]:
    """Trials a second that so many worker processes take from a full queue, and who was busy with it."""
    database = place.database()
    in_process(_fill, trials, place.url(database, LEADER, counted=False), count)
    proxy = place.proxy(database) if proxied else None
    url = proxy.url(counted=False) if proxy else place.url(database, counted=False)
    if proxy:
        in_process(_answered, url)
    processes = [multiprocessing.get_context("fork").Process(target=worker, args=(url,)) for _ in range(workers)]
    before, began = place.processor_s(), proxy.processor_s() if proxy else 0.0
    for process in processes:
        process.start()
    found = in_process(_watch, place.url(database, LEADER, counted=False), count)
    busy = place.processor_s() - before, (proxy.processor_s() - began) if proxy else 0.0
    for process in processes:
        process.join()
    return {
        "workers": workers,
        "trials": found["trials"],
        "seconds": found["seconds"],
        "trials_per_s": found["trials"] / found["seconds"],
        "server_ms_per_trial": 1000 * busy[0] / count,
        "proxy_ms_per_trial": 1000 * busy[1] / count,
    }


def _fill(trials: Trials, url: str, count: int) -> None:
    ledger = trials.ledger(url)
    ledger.set_state(RUNNING)
    for work in trials.works(count):
        ledger.add(work)


def _answered(url: str) -> None:
    open_storage(url).get_all_studies()


def _watch(url: str, count: int) -> dict[str, float]:
    """Wait until all is measured; from the first end to the last, as the database says."""
    import sqlalchemy

    opened = open_storage(url)
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    asked = sqlalchemy.text(
        "SELECT count(*), extract(epoch FROM max(datetime_complete) - min(datetime_complete)) FROM trials "
        "WHERE state = 'COMPLETE'"
    )
    while True:
        with engine.connect() as connection:
            done, seconds = connection.execute(asked).one()
        if done == count:
            break
        time.sleep(0.1)
    Ledger.set_state(SimpleNamespace(storage=opened, study_id=opened.get_study_id_from_name(STUDY)), ENDED)
    return {"trials": done - 1, "seconds": float(seconds)}
