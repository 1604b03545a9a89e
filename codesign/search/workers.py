"""Who evaluates: this process, or N worker processes of one thread each."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from codesign.formats import Assignment
from codesign.models import load_task
from codesign.quality import Evaluator, Quality

Pending = Callable[[], Quality]

_evaluators: dict[str, Evaluator] = {}  # of a worker process, made by its initializer


class Measurer:
    """Measures assignments; `submit` returns a function that waits for the result.

    With one worker nothing runs before its result is asked for, so that a killed search loses one
    evaluation. With more, a batch runs at once; results are asked for in the order of submission, which
    keeps a study independent of the number of workers up to rounding in the network's own sums.
    """

    def __init__(self, evaluators: Mapping[str, Evaluator], specs: Mapping[str, str], base: Path, workers: int) -> None:
        self._evaluators = evaluators
        self._pool: concurrent.futures.ProcessPoolExecutor | None = None
        if workers > 1:
            caches = {n: e.cache.folder if e.cache else None for n, e in evaluators.items()}
            self._pool = concurrent.futures.ProcessPoolExecutor(
                workers,
                multiprocessing.get_context("spawn"),  # torch's threads do not survive a fork
                initializer=_start,
                initargs=(dict(specs), base, caches),
            )

    def submit(self, task: str, assignment: Assignment) -> Pending:
        if self._pool is None:
            return lambda: self._evaluators[task](assignment)
        return self._pool.submit(_evaluate, task, assignment).result

    def close(self) -> None:
        """Stop the worker processes; what they have not begun is dropped."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _start(specs: dict[str, str], base: Path, caches: dict[str, Path | None]) -> None:
    torch.set_num_threads(1)
    for name, spec in specs.items():
        task = load_task(spec, name=name, search_path=base)
        _evaluators[name] = Evaluator(task, cache=caches[name])


def _evaluate(task: str, assignment: Assignment) -> Quality:
    return _evaluators[task](assignment)
