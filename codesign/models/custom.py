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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from codesign.errors import InputError, nearest
from codesign.models.task import SCALES, Outputs, Part, Samples, Scale, Task
from codesign.plugins import importable, named_object
from codesign.workload import Workload, trace

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

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise InputError(f"a Loss is of a function (outputs, reference), not of {type(self.function).__name__}")
        if self.scale not in SCALES:
            raise InputError(f"unknown scale '{self.scale}' of a loss{nearest(self.scale, SCALES)}")


def squared_error(outputs: Tensor, reference: Tensor) -> Tensor:
    """Mean squared error of each sample, [n]."""
    return (outputs - reference).square().flatten(1).mean(dim=1)


class CustomTask(Task):
    """The task of a user's module, data and metric."""

    seed = 0
    more_when_full = False

    def __init__(
        self, name: str, module: nn.Module, calibration: Any, evaluation: Any, metric: Metric | Loss | None
    ) -> None:
        self.name = name
        self.module = module.eval()
        self.metric_is_given = metric is not None
        loss = metric if isinstance(metric, Loss) else Loss(metric or squared_error)
        self.deciding = loss.name or getattr(loss.function, "__name__", "loss")
        self.unit, self.scale = loss.unit, loss.scale
        self._calibration, self._evaluation = calibration, evaluation
        self._metric = loss.function

    def calibrate(self, module: nn.Module) -> None:
        _call(module, self._calibration)

    def run(self, module: nn.Module, *, full: bool = False) -> Outputs:
        output = _call(module, self._evaluation)
        if not isinstance(output, Tensor):
            raise InputError(f"{self.name}: the module returns {type(output).__name__}, expected one tensor")
        return {"output": output}

    def score(self, outputs: Outputs, reference: Outputs, *, full: bool = False) -> list[Samples]:
        with torch.no_grad():
            losses = self._metric(outputs["output"], reference["output"])
        if losses.ndim != 1:
            shape = tuple(losses.shape)
            raise InputError(f"{self.name}: the metric returns shape {shape}, expected one loss per sample")
        values = losses.double().cpu().numpy()
        if self.scale != "raw":
            values = np.maximum(values, self.from_raw(0.0))
        return [Samples(self.deciding, self.unit, "minimize", values, lambda rows: float(rows.mean()))]

    def probe(self, outputs: Outputs, generator: torch.Generator) -> Tensor:
        """A Rademacher probe: exact for a squared error, and a usable ranking of layers for other losses."""
        y = outputs["output"]
        signs = torch.randint(0, 2, y.shape, generator=generator).to(y) * 2 - 1
        scalar: Tensor = (y * signs).sum() / y.numel() ** 0.5
        return scalar

    def part(self) -> Part | None:
        """The first third of the samples; None with a user's metric, which may close over labels of all samples."""
        count = len(tree_leaves(self._evaluation)[0])
        if self.metric_is_given or count < _LEAST_WHOLE:
            return None
        rows = slice(count // 3)
        evaluation = tree_map(lambda leaf: leaf[rows] if isinstance(leaf, Tensor) else leaf, self._evaluation)
        smaller = CustomTask(self.name, self.module, self._calibration, evaluation, None)
        return Part(smaller, np.arange(count)[rows], 1 / 3)

    def workload(self) -> Workload:
        """The workload of a forward pass with one sample."""
        return trace(self.module, _first(self._evaluation), name=self.name)

    def data_arrays(self) -> Iterable[np.ndarray]:
        """Inputs, and data that the metric closes over, such as labels."""
        for leaf in tree_leaves((self._calibration, self._evaluation, _held(self._metric))):
            if isinstance(leaf, Tensor):
                yield leaf.detach().cpu().numpy()
            elif isinstance(leaf, np.ndarray):
                yield leaf


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
    with importable(search_path):
        function = named_object(spec)
        return as_task(spec, name or spec.rpartition(":")[2], function())


def as_task(spec: str, name: str, result: Any) -> Task:
    """A task `name` from a function's result: a Task, or (module, calibration, evaluation, metric).

    Raises InputError, naming `spec`, if it is neither.
    """
    if isinstance(result, Task):
        result.name = name
        return result
    if not (isinstance(result, tuple) and len(result) == 4 and isinstance(result[0], nn.Module)):
        raise InputError(f"'{spec}' must return (module, calibration, evaluation, metric)")
    module, calibration, evaluation, metric = result
    if metric is not None and not isinstance(metric, Loss) and not callable(metric):
        raise InputError(f"'{spec}': the metric must be a function, a Loss or None, found {type(metric).__name__}")
    return CustomTask(name, module, calibration, evaluation, metric)


def _call(module: nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, Mapping):
        return module(**inputs)
    return module(*inputs) if isinstance(inputs, (tuple, list)) else module(inputs)


def _first(inputs: Any) -> Any:
    """The first sample of `inputs`, as a batch of one."""
    if isinstance(inputs, Mapping):
        return {k: _first(v) for k, v in inputs.items()}
    if isinstance(inputs, (tuple, list)):
        return tuple(_first(v) for v in inputs)
    return inputs[:1] if isinstance(inputs, Tensor) and inputs.ndim else inputs
