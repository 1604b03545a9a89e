"""From what was measured to a study of a 7B network with any number of workers; every formula stands here."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scale_parts.evaluation import Work
from scale_parts.places import Count

from codesign.search.queue.queue import BEAT_S
from codesign.search.study.run import _PAUSE, _POLL_S

WAYS = ("direct", "proxy")
UNIFORM = 16  # evaluations before the first batch: a uniform one for each pair of search_spaces/phone.yaml
_LEADS = ("create", "look", "looked")  # operations of the coordinator, who has a connection of its own to the database
_AS = {"look": "read", "looked": "open"}  # which cost the same
_OPEN = 1.5  # batches on average, of the two: the older one is half done
_WORKS = ("claim", "late", "beat", "finish", "state", "read", "open", "join")


@dataclass(frozen=True)
class Device:
    """What a worker evaluates on; the rates are those that are reached, not the peaks."""

    name: str
    flop_per_s: float
    bytes_per_s: float
    price_per_hour: float


def mean(by_kind: dict[str, float]) -> float:
    """Of plain and of block formats."""
    return float(np.mean(list(by_kind.values())))


def evaluation(device: Device, work: Work, network: dict[str, Any], layer: dict[str, Any]) -> dict[str, float]:
    """Seconds of one evaluation: products, what fake quantization of activations moves, and all weights quantized anew.

    products_s = 2 * MACs / flop_per_s; formats_s = decoder layers * windows * (a * tokens + b * tokens ** 2) bytes /
    bytes_per_s; weights_s = parameters * bytes that quantizing a weight moves / bytes_per_s.
    """
    each = [a * work.tokens + b * work.tokens**2 for a, b in layer["formats_bytes"].values()]
    formats = network["decoder_layers"] * work.windows * float(np.mean(each)) / device.bytes_per_s
    weights = network["parameters"] * mean(layer["quantize_bytes_per_weight"]) / device.bytes_per_s
    products = 2 * work.macs / device.flop_per_s
    found = {"products_s": products, "formats_s": formats, "weights_s": weights}
    return found | {"evaluation_s": sum(found.values())}


class Measured:
    """The figures of scale.json, as functions of the number of workers and of the batch."""

    def __init__(self, record: dict[str, Any]) -> None:
        self._crowds, self._batches = record["crowd"], record["batches"]
        self._costs = {way: {n: Count(**c) for n, c in costs.items()} for way, costs in record["costs"].items()}

    def cost(self, way: str, operation: str) -> Count:
        """The coordinator's go directly, whatever the workers' way."""
        return self._costs["direct" if operation in _LEADS else way][_AS.get(operation, operation)]

    def a_trial(self, operation: str, workers: int) -> float:
        return self._of_workers(workers, [c["per_trial"][operation] for c in self._crowds])

    def open_at_a_look(self, workers: int) -> float:
        return self._of_workers(workers, [c["open_at_a_look"] for c in self._crowds])

    def _of_workers(self, workers: int, counted: Sequence[float]) -> float:
        """Between two counted crowds, and on from the last two: a straight line."""
        places = [c["workers"] for c in self._crowds]
        if workers <= places[-1]:
            return float(np.interp(workers, places, counted))
        slope = (counted[-1] - counted[-2]) / (places[-1] - places[-2])
        return counted[-1] + slope * (workers - places[-1])

    def propose_s(self, batch: int) -> float:
        """The engine's time for a batch."""
        sizes = [b["batch"] for b in self._batches]
        return float(np.interp(batch, sizes, [b["ms_per_batch"] for b in self._batches])) / 1000


def looks_per_s(measured: Measured, workers: int) -> float:
    """Of the coordinator at the queue: it pauses, the longer the longer the look took."""
    look_s = measured.cost("direct", "look").wall_s + _OPEN * workers * measured.cost("direct", "looked").wall_s
    return 1 / (look_s + max(_POLL_S[1], _PAUSE * look_s))


def operations(measured: Measured, workers: int, seconds: float) -> dict[str, float]:
    """How often each is done a trial; the batch is the number of workers, all of which have work.

    beat: at once, and every BEAT_S of an evaluation. state: before a trial is taken, and when it is done. join: every
    worker reads every finished trial once. late, read and the open trials then were counted.
    """
    looks = looks_per_s(measured, workers) * seconds / workers
    return {
        "create": 1.0,
        "look": looks,
        "looked": looks * _OPEN * workers,
        "claim": 1.0,
        "late": measured.a_trial("late", workers),
        "beat": 1.0 + math.floor(seconds / BEAT_S),
        "finish": 1.0,
        "state": 2.0,
        "read": measured.a_trial("read", workers),
        "open": measured.a_trial("read", workers) * measured.open_at_a_look(workers),
        "join": float(workers),
    }


def load(measured: Measured, way: str, workers: int, seconds: float) -> dict[str, Count]:
    """What a trial asks of the storage, by operation, from coordinator and all workers together."""
    often = operations(measured, workers, seconds)
    return {name: measured.cost(way, name) * often[name] for name in (*_LEADS, *_WORKS)}


def _bounds(measured: Measured, way: str, workers: int, seconds: float, server_cores: int) -> dict[str, float]:
    """Trials a second that each of these lets through: the workers, who wait for their claims between two
    evaluations; the server's cores; the proxy's one; the coordinator, who proposes and queues one after the other.
    """
    count = sum(load(measured, way, workers, seconds).values(), Count())
    often = operations(measured, workers, seconds)
    between = sum(often[name] * measured.cost(way, name).wall_s for name in ("claim", "late"))
    found = {
        "workers": workers / (seconds + between),
        "PostgreSQL": server_cores / count.server_s,
        "coordinator": 1 / (measured.cost(way, "create").wall_s + measured.propose_s(workers) / workers),
    }
    return found | ({"proxy": 1 / count.proxy_s} if way == "proxy" else {})


def plan(
    measured: Measured,
    device: Device,
    work: Work,
    seconds: float,
    *,
    workers: int,
    evaluations: int,
    server_cores: int,
    start_s: float,
) -> dict[str, Any]:
    """One row of the table: what so many workers could do, what they reach each way, and what it costs."""
    wanted = workers / seconds
    row: dict[str, Any] = {"device": device.name, "windows": work.windows, "tokens": work.tokens, "workers": workers}
    row |= {"evaluation_s": seconds, "wanted_per_h": 3600 * wanted}
    row["batches"] = math.ceil((evaluations - UNIFORM) / workers)
    for way in WAYS:
        parts = load(measured, way, workers, seconds)
        count, often = sum(parts.values(), Count()), operations(measured, workers, seconds)
        bounds = _bounds(measured, way, workers, seconds, server_cores)
        bound = min(bounds, key=lambda name: bounds[name])
        study_s = start_s + study_seconds(
            evaluations,
            workers=workers,
            batch=workers,
            seconds=workers / min(bounds[name] for name in bounds if name != "coordinator"),
            propose_s=measured.propose_s,
            queue_s=measured.cost(way, "create").wall_s,
        )
        row[way] = {
            "bounds_per_s": bounds,
            "bound": bound,
            "reached_per_h": 3600 * bounds[bound],
            "transactions_per_s": wanted * count.transactions,
            "statements_per_s": wanted * count.statements,
            "bytes_per_s": wanted * count.wire_bytes,
            "looks_per_s": looks_per_s(measured, workers),
            "server_cores": wanted * count.server_s,
            "proxy_cores": wanted * count.proxy_s,
            "coordinator_share": wanted / bounds["coordinator"],
            "study_h": study_s / 3600,
            "study_price": workers * device.price_per_hour * study_s / 3600,
            "by_operation": {
                name: {
                    "times": often[name],
                    "statements": parts[name].statements,
                    "wire_bytes": parts[name].wire_bytes,
                    "server_s": parts[name].server_s,
                    "proxy_s": parts[name].proxy_s,
                }
                for name in parts
            },
        }
    return row


def shortest(measured: Measured, way: str, workers: int, server_cores: int) -> dict[str, Any]:
    """The shortest evaluation with which so many workers are kept busy, and what would stop a shorter one.

    A trial costs a little more the longer it takes (signs of life, the coordinator's questions), hence the steps.
    """
    seconds, bound = 1.0, ""
    for _ in range(50):
        bounds = _bounds(measured, way, workers, seconds, server_cores)
        del bounds["workers"]
        bound = min(bounds, key=lambda name: bounds[name])
        seconds = workers / bounds[bound]
    return {"workers": workers, "way": way, "seconds": seconds, "bound": bound}


def study_seconds(
    evaluations: int,
    *,
    workers: int,
    batch: int,
    seconds: float,
    propose_s: Callable[[int], float],
    queue_s: float,
) -> float:
    """A study step by step: the uniform designs, then batches, of which the one before is measured meanwhile.

    The first worker that is free takes the first trial that waits; every evaluation takes as long.
    """
    free = [0.0] * workers

    def queued(count: int, clock: float) -> tuple[float, float]:
        """When the last of these is in the queue, and when it is measured."""
        end = clock
        for _ in range(count):
            clock += queue_s
            end = max(heapq.heappop(free), clock) + seconds
            heapq.heappush(free, end)
        return clock, end

    clock = max(queued(min(UNIFORM, evaluations), 0.0))
    left, before = evaluations - UNIFORM, clock
    while left > 0:
        size = min(batch, left)
        clock, end = queued(size, clock + propose_s(size))
        left -= size
        clock, before = max(clock, before), end
    return max(clock, before)
