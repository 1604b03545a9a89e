"""A task of the user's own: ``python:package.module:function``.

The function takes no argument and returns ``(module, calibration, evaluation, metric)``:

- `module`: a trained `nn.Module`; it is put in eval mode;
- `calibration`, `evaluation`: the inputs of the module: a tensor, a tuple of arguments or a dict of keyword arguments,
  with samples along the first axis;
- `metric`: ``metric(outputs, reference) -> Tensor [n]``, one *loss* per sample (smaller is better), of the module's
  outputs against those of the float module on the same batch; it may close over labels. Wrap the function in a `Loss`
  to give its unit and scale, which logarithmic losses need: the log10 of a squared error, or a negated PSNR. ``None``
  stands for the squared error against the float output.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from codesign.errors import InputError, nearest
from codesign.models.metric_code import metric_code
from codesign.models.probes import kl_of_logits, rademacher
from codesign.models.task import SCALES, Outputs, Part, Samples, Scale, Task
from codesign.plugins import importable, named_object
from codesign.usercode import users
from codesign.workload import Workload, trace
from codesign.workload.completeness import Unseen
from codesign.workload.tracing import averaged

_LEAST_WHOLE = 24  # smallest number of samples for which a part is informative
Metric = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Loss:
    """A user's metric with its scale and unit. Raises InputError on an unknown scale."""

    function: Metric  # (outputs, reference) -> Tensor [n], a loss per sample
    # raw: losses of several layers add up; log10: the log10 of such a loss; db: 10 log10 of it, such as a negated PSNR.
    # Logarithms are clamped at a loss of 1e-12, since that of the float network is 0.
    scale: Scale = "raw"
    unit: str = ""
    name: str = ""  # in tables; by default the function's
    # what the sensitivities backpropagate, see `Task.probe`: squared_error, kl (of logits), or a function (outputs,
    # generator) -> scalar; a wrong one costs evaluations, not correctness
    probe: Literal["squared_error", "kl"] | Callable[[Tensor, torch.Generator], Tensor] = "squared_error"

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise InputError(f"a Loss is of a function (outputs, reference), not of {type(self.function).__name__}")
        if self.scale not in SCALES:
            raise InputError(f"unknown scale '{self.scale}' of a loss{nearest(self.scale, SCALES)}")
        if not callable(self.probe) and self.probe not in _PROBES:
            raise InputError(f"unknown probe '{self.probe}' of a loss{nearest(self.probe, _PROBES)}")


_PROBES: Mapping[str, Callable[[Tensor, torch.Generator], Tensor]] = {"squared_error": rademacher, "kl": kl_of_logits}


def squared_error(outputs: Tensor, reference: Tensor) -> Tensor:
    """Mean squared error of each sample, [n], computed in float32 or better."""
    if not outputs.is_floating_point():
        raise InputError(f"the network returns {outputs.dtype}, for which squared error is no loss: give a metric")
    wide = torch.promote_types(outputs.dtype, torch.float32)
    return (outputs.to(wide) - reference.to(wide)).square().reshape(len(outputs), -1).mean(dim=1)


class CustomTask(Task):
    """The task of a user's module, data and metric."""

    seed = 0
    more_when_full = False
    unseen: Unseen = "refuse"  # what to do where many weights enter no product

    def __init__(
        self, name: str, module: nn.Module, calibration: Any, evaluation: Any, metric: Metric | Loss | None
    ) -> None:
        self.name = name
        self.module = _evaluating(module)
        self.metric_is_given = metric is not None
        loss = metric if isinstance(metric, Loss) else Loss(metric or squared_error)
        self.deciding = loss.name or getattr(loss.function, "__name__", "loss")
        self.unit, self.scale = loss.unit, loss.scale
        self._calibration, self._evaluation = calibration, evaluation
        self._metric = loss.function
        self._probe = loss.probe if callable(loss.probe) else _PROBES[loss.probe]

    def calibrate(self, module: nn.Module) -> None:
        _call(module, self._calibration)

    def run(self, module: nn.Module, *, full: bool = False) -> Outputs:
        output = _call(module, self._evaluation)
        if not isinstance(output, Tensor):
            raise InputError(f"{self.name}: the module returns {type(output).__name__}, expected one tensor")
        if not output.ndim:
            raise InputError(f"{self.name}: the module returns a single number, expected a row per sample")
        return {"output": output}

    def score(self, outputs: Outputs, reference: Outputs, *, full: bool = False) -> list[Samples]:
        with torch.no_grad():
            losses = self._metric(outputs["output"], reference["output"])
        try:
            values = torch.as_tensor(losses).detach().double().cpu().numpy()
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"{self.name}: the metric returns {type(losses).__name__}, no tensor: {error}") from None
        if values.shape != (self._count,):
            raise InputError(
                f"{self.name}: the metric returns shape {list(values.shape)}, expected one loss for each of "
                f"{self._count} samples"
            )
        if self.scale != "raw":
            values = np.maximum(values, self.from_raw(0.0))
        return [Samples(self.deciding, self.unit, "minimize", values, lambda rows: float(rows.mean()))]

    @functools.cached_property
    def _count(self) -> int:
        """Samples of the evaluation data: where its tensors have several lengths, the one of the output."""
        lengths = _lengths(self._evaluation)
        if len(lengths) > 1:
            with torch.no_grad():
                output = _call(self.module, self._evaluation)
            if isinstance(output, Tensor) and output.ndim and len(output) in lengths:
                return len(output)
        return lengths[0]

    def probe(self, outputs: Outputs, generator: torch.Generator) -> Tensor:
        """The probe that the loss names; that of a squared error is a usable ranking of layers for other losses."""
        return self._probe(outputs["output"], generator)

    def part(self) -> Part | None:
        """The first third of the samples; None with a user's metric, which may close over labels of all samples."""
        count = self._count
        if self.metric_is_given or count < _LEAST_WHOLE:
            return None
        rows = slice(count // 3)
        evaluation = _rows(self._evaluation, rows, count)
        smaller = CustomTask(self.name, self.module, self._calibration, evaluation, None)
        return Part(smaller, np.arange(count)[rows], 1 / 3)

    def workload(self) -> Workload:
        """The workload of a forward pass with one sample.

        If the first sample leaves weights unused (experts to which it is not routed), the mean over all samples.
        """
        first = trace(self.module, _rows(self._evaluation, slice(1), self._count), name=self.name, unseen="warn")
        if not first.unread:
            return first
        whole = trace(self.module, self._evaluation, name=self.name, unseen=self.unseen)
        return averaged(whole, self._count) if set(whole.layers) - set(first.layers) else first

    def data_arrays(self) -> Iterable[np.ndarray]:
        """Inputs, and data that the metric closes over, such as labels."""
        for leaf in tree_leaves((self._calibration, self._evaluation, _held(self._metric))):
            if isinstance(leaf, Tensor):
                yield _bits(leaf) if leaf.dtype == torch.bfloat16 else leaf.detach().cpu().numpy()
            elif isinstance(leaf, np.ndarray):
                yield leaf


def _bits(x: Tensor) -> np.ndarray:
    """The bit patterns of bfloat16, which numpy has not."""
    return x.detach().cpu().contiguous().view(torch.int16).numpy()


def _held(metric: Any) -> list[Any]:
    """Data held by a metric: in its closure, defaults or partial arguments."""
    if isinstance(metric, functools.partial):
        return [*metric.args, *metric.keywords.values(), *_held(metric.func)]
    held = [*(getattr(metric, "__defaults__", None) or ()), *(getattr(metric, "__kwdefaults__", None) or {}).values()]
    for cell in getattr(metric, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # an unset variable of the closure
            held.append(cell.cell_contents)
    return [item for item in held if isinstance(item, (Tensor, np.ndarray, list, tuple, dict))]


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
    more = metric_code(task._metric if isinstance(task, CustomTask) else type(task).score, file)
    return hashlib.sha256("\n".join([code, *more]).encode()).hexdigest()[:16] if more else code


def as_task(spec: str, name: str, result: Any) -> Task:
    """A task `name` from a function's result: a Task, or (module, calibration, evaluation, metric).

    Raises InputError, naming `spec`, if it is neither.
    """
    if isinstance(result, Task):
        result.name = name
        return _watched(result, spec)
    if not (isinstance(result, tuple) and len(result) == 4 and isinstance(result[0], nn.Module)):
        raise InputError(f"'{spec}' must return (module, calibration, evaluation, metric)")
    module, calibration, evaluation, metric = result
    if metric is not None and not isinstance(metric, Loss) and not callable(metric):
        raise InputError(f"'{spec}': the metric must be a function, a Loss or None, found {type(metric).__name__}")
    calibration, evaluation = (tree_map(_as_tensor, inputs) for inputs in (calibration, evaluation))
    for what, inputs in (("calibration", calibration), ("evaluation", evaluation)):
        if not _lengths(inputs):
            raise InputError(f"'{spec}': the {what} data hold no tensor with a sample axis")
        if not min(_lengths(inputs)):
            raise InputError(f"'{spec}': the {what} data hold no sample")
    return _watched(CustomTask(name, module, calibration, evaluation, metric), spec)


def _evaluating(module: nn.Module) -> nn.Module:
    """The module in eval mode; a program of torch.export, which refuses to be put there, stays as it was exported."""
    try:
        return module.eval()
    except NotImplementedError:
        for inner in module.modules():
            inner.training = False
        return module


def _as_tensor(leaf: Any) -> Any:
    return torch.from_numpy(leaf) if isinstance(leaf, np.ndarray) else leaf


_USERS = {
    "calibrate": "calibration run",
    "run": "forward pass",
    "score": "metric",
    "probe": "probe",
    "workload": "forward pass of one sample",
    "data_arrays": "data",
    "part": "part",
}


def _watched(task: Task, spec: str) -> Task:
    """The task, whose methods run code of the user's own: what that raises is one line with its place."""
    for name, what in _USERS.items():
        setattr(task, name, _guarded(getattr(task, name), f"{what} of '{spec}'", _shapes_of(task, name)))
    part = task.part

    def watched_part() -> Part | None:
        found = part()
        return None if found is None else replace(found, task=_watched(found.task, spec))

    task.part = watched_part  # type: ignore[method-assign]  # as the methods above
    return task


def _shapes_of(task: Task, method: str) -> Callable[[], str] | None:
    """Says what the module is called with in a method; None where it is not called, or the data are the task's own."""
    if not isinstance(task, CustomTask) or method not in ("calibrate", "run", "workload"):
        return None
    return lambda: _in_words(task._calibration if method == "calibrate" else task._evaluation)


def _in_words(inputs: Any) -> str:
    """Inputs by their shapes and types: "x: [32, 16] float32, flag: bool"."""
    if isinstance(inputs, Mapping):
        return ", ".join(f"{key}: {_in_words(value)}" for key, value in inputs.items())
    if isinstance(inputs, (tuple, list)):
        return ", ".join(map(_in_words, inputs))
    if isinstance(inputs, Tensor):
        return f"{list(inputs.shape)} {str(inputs.dtype).removeprefix('torch.')}"
    return type(inputs).__name__


def _guarded(method: Callable[..., Any], what: str, shapes: Callable[[], str] | None) -> Callable[..., Any]:
    @functools.wraps(method)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        with users(what, shapes):
            return method(*args, **kwargs)

    return guarded


def _call(module: nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, Mapping):
        return module(**inputs)
    return module(*inputs) if isinstance(inputs, (tuple, list)) else module(inputs)


def _lengths(inputs: Any) -> list[int]:
    """The distinct lengths of the tensors in `inputs`, in order."""
    leaves = [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor) and leaf.ndim]
    return list(dict.fromkeys(len(leaf) for leaf in leaves))


def _rows(inputs: Any, rows: slice, count: int) -> Any:
    """Some of the `count` samples of `inputs`; flags, and tensors shared by all samples (a mask [L, L]), stay whole."""

    def taken(leaf: Any) -> Any:
        return leaf[rows] if isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == count else leaf

    return tree_map(taken, inputs)
