"""A task of the user's own: ``python:package.module:function``.

The function takes no argument and returns a `Task`, such as a `CustomTask`, or the least of one, as `CustomTask`
takes it: ``(module, calibration, evaluation, metric)``. That is a trained `nn.Module`, its inputs with samples along
the first axis (or batches of them), and ``metric(outputs, reference) -> Tensor [n]``, one *loss* per sample (smaller is
better), of the module's outputs against those of the float module on the same batch. ``None`` stands for the squared
error; a `Loss` gives a metric's unit and scale.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from codesign.errors import InputError
from codesign.models.batches import Batches, in_words, lengths
from codesign.models.custom import CustomTask
from codesign.models.losses import Loss
from codesign.models.metric_code import metric_code
from codesign.models.task import Part, Task
from codesign.plugins import importable, named_object
from codesign.usercode import users


def load_custom(spec: str, *, name: str | None = None, search_path: Path | None = None) -> Task:
    """Import and call the function `spec`; raises InputError if it is missing or returns something else."""
    with importable(search_path), users(f"task '{spec}'"):
        named = named_object(spec, search_path)
        result = named.call()
        task = as_task(spec, name or spec.rpartition(":")[2], result)
        task.file, task.code = named.file, code_with_metric(task, named.code, named.file)
    return task


def code_with_metric(task: Task, code: str, file: Path | None) -> str:
    """Hash of a task's own code, which begins in `file`, and of what its metric has elsewhere."""
    more = metric_code(task.loss.function if isinstance(task, CustomTask) else type(task).score, file)
    return hashlib.sha256("\n".join([code, *more]).encode()).hexdigest()[:16] if more else code


def as_task(spec: str, name: str, result: Any) -> Task:
    """A task `name` from a function's result: a Task, or (module, calibration, evaluation, metric).

    Raises InputError, naming `spec`, if it is neither.
    """
    if isinstance(result, Task):
        result.name = name
        return _checked(result, spec) if isinstance(result, CustomTask) else _watched(result, spec)
    if not (isinstance(result, tuple) and len(result) == 4 and isinstance(result[0], nn.Module)):
        raise InputError(f"'{spec}' must return (module, calibration, evaluation, metric), or a CustomTask")
    module, calibration, evaluation, metric = result
    if metric is not None and not isinstance(metric, Loss) and not callable(metric):
        raise InputError(f"'{spec}': the metric must be a function, a Loss or None, found {type(metric).__name__}")
    return _checked(CustomTask(name, module, calibration, evaluation, metric), spec)


def _checked(task: CustomTask, spec: str) -> Task:
    """The task, guarded; raises InputError if its data hold no sample."""
    for what, data in (("calibration", task.calibration), ("evaluation", task.evaluation)):
        with users(f"{what} data of '{spec}'"):
            found = lengths(data.first().inputs)
        if not found:
            raise InputError(f"'{spec}': the {what} data hold no tensor with a sample axis")
        if not min(found):
            raise InputError(f"'{spec}': the {what} data hold no sample")
    return _watched(task, spec)


_USERS = {
    "calibrate": "calibration run",
    "practise": "calibration run",
    "batches": "forward pass",
    "run": "forward pass",
    "score": "metric",
    "scored": "metric",
    "probe": "probe",
    "workload": "forward pass of one sample",
    "data_arrays": "data",
    "part": "part",
    "some": "part",
    "sample_count": "data",
    "found_scale": "metric",
    "examples": "examples",
}
_WATCHED = "_watched_as"  # what a task was called when its methods were guarded


def _watched(task: Task, spec: str) -> Task:
    """The task, whose methods run code of the user's own: what that raises is one line with its place."""
    for name, what in _USERS.items():
        if hasattr(task, name):
            guard = _guarded_steps if name == "batches" else _guarded
            setattr(task, name, guard(getattr(task, name), f"{what} of '{spec}'", _shapes_of(task, name)))
    part = task.part

    @functools.wraps(part)
    def watched_part() -> Part | None:
        found = part()
        return None if found is None else replace(found, task=_watched(found.task, spec))

    some = task.some

    @functools.wraps(some)
    def watched_some(rows: Sequence[int]) -> Task | None:
        found = some(rows)
        return None if found is None else _watched(found, spec)

    task.part, task.some = watched_part, watched_some  # type: ignore[method-assign]  # as the methods above
    vars(task)[_WATCHED] = spec
    return task


def copied(task: Task) -> Task:
    """A shallow copy of a task, whose guarded methods are its own instead of the original's."""
    made = copy.copy(task)
    spec = vars(made).pop(_WATCHED, None)
    if spec is None:
        return made
    for name in _USERS & vars(made).keys():
        own = inspect.unwrap(vars(made).pop(name))
        if not inspect.ismethod(own):  # a function that the task was given instead of its class's method
            setattr(made, name, own)
    return _watched(made, spec)


def _shapes_of(task: Task, method: str) -> Callable[[], str] | None:
    """Says what the module is called with in a method; None where it is not called, or the data are the task's own."""
    if not isinstance(task, CustomTask) or method not in ("calibrate", "batches", "run", "workload"):
        return None

    def shapes() -> str:
        data: Batches = task.calibration if method == "calibrate" else task.evaluation
        return in_words(data.first().inputs)

    return shapes


def _guarded(method: Callable[..., Any], what: str, shapes: Callable[[], str] | None) -> Callable[..., Any]:
    @functools.wraps(method)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        with users(what, shapes):
            return method(*args, **kwargs)

    return guarded


def _guarded_steps(method: Callable[..., Any], what: str, shapes: Callable[[], str] | None) -> Callable[..., Any]:
    """The same for a method that yields: between its steps others run."""

    @functools.wraps(method)
    def guarded(*args: Any, **kwargs: Any) -> Iterator[Any]:
        steps, end = method(*args, **kwargs), object()
        while True:
            with users(what, shapes):
                step = next(steps, end)
            if step is end:
                return
            yield step

    return guarded
