"""What a batch costs: the engine's time, and how good a front many proposals at once lead to."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import enumerated
import numpy as np
import optuna
import overhead

from codesign.search import SearchSpace, load_space, open_study, run_study
from codesign.search.engine.engine import Engine
from codesign.search.samplers.engine_strategy import EngineStrategy

EVALUATIONS = 516  # of the phone's space, 16 of them uniform
CHECKED = (78, 156, 391)  # evaluations of the enumerated problem, of the shares that enumerated.py notes


def batches(sizes: list[int]) -> list[dict[str, Any]]:
    """The engine's time for a batch, and the hypervolume after so many evaluations, in the phone's space.

    Losses are supposed: what the sensitivities sum to, off by a factor. hypervolume: as a share of the first size's.
    """
    found: list[dict[str, Any]] = []
    for size in sizes:
        space, tables = with_batch(load_space(overhead.SPACE), size), dict[str, np.ndarray]()
        evaluators = {n: overhead.Supposed(network, tables, n, 0.0) for n, network in space.networks.items()}
        timed = _Timed()
        with tempfile.TemporaryDirectory() as folder, timed:
            storage = optuna.storages.InMemoryStorage()
            study = open_study(space, Path(folder), storage=storage, evaluators=evaluators)
            study.tables = tables
            run_study(study, evaluations=EVALUATIONS, sampler=partial(EngineStrategy, race=False))
        row = {"batch": size, "rounds": len(timed.sizes), "mean_batch": float(np.mean(timed.sizes))}
        row |= {"evaluations": study.evaluations, "ms_per_batch": 1000 * timed.seconds / len(timed.sizes)}
        found.append(row | {"hypervolume": study.hypervolume(study.front())})
    return [row | {"hypervolume": row["hypervolume"] / found[0]["hypervolume"]} for row in found]


class _Timed:
    """Processor time of the engine while in the context, and the sizes of its batches."""

    def __init__(self) -> None:
        self.seconds, self.sizes = 0.0, list[int]()
        self._patches = [patch.object(Engine, name, self._timed(getattr(Engine, name))) for name in ("propose", "tell")]

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            started = time.thread_time()
            result = call(*args, **kwargs)
            self.seconds += time.thread_time() - started
            if result:
                self.sizes.append(len(result))
            return result

        return run

    def __enter__(self) -> _Timed:
        for each in self._patches:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._patches:
            each.stop()


def with_batch(space: SearchSpace, batch: int) -> SearchSpace:
    search = space.spec.search.model_copy(update={"batch": batch})
    return replace(space, spec=space.spec.model_copy(update={"search": search}))


def enumerated_batches(sizes: list[int], seeds: int) -> list[dict[str, Any]]:
    """Shares of the true hypervolume that the front of the enumerated problem has; the seeds' mean."""
    space, quality = enumerated.truth()
    found = []
    for size in sizes:
        timed = _Timed()
        with patch.object(enumerated, "truth", lambda size=size: (with_batch(space, size), quality)), timed:
            runs = [enumerated.runs("codesign", seed, CHECKED[-1]) for seed in range(seeds)]
        shares = [dict(reversed(run["share_of_hypervolume"])) for run in runs]
        row = {"batch": size, "mean_batch": float(np.mean(timed.sizes)), "seeds": seeds}
        found.append(row | {"shares": {str(c): float(np.mean([s[c] for s in shares])) for c in CHECKED}})
    return found
