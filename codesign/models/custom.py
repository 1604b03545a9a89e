"""A task of the user's own: ``python:package.module:function``.

The function takes no argument and returns ``(module, calibration, evaluation, metric)``:

- `module`: a trained `nn.Module`; it is put in eval mode;
- `calibration`, `evaluation`: what the module is called with: a tensor, a tuple of arguments or a
  dict of keywords, the first axis being the sample;
- `metric`: ``metric(outputs, reference) -> Tensor [n]``, one *loss* per sample (smaller is better), of
  the module's outputs against the float module's outputs on the same batch; it may close over labels.
  A `Loss` around the function says its unit and its scale: of a squared error's log10, or of a negated PSNR, which
  are negative. Return ``None`` instead of a function for the squared error against the float output.
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

_LEAST_WHOLE = 24  # samples of which a part says something
Metric = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Loss:
    """A metric of the user's own, and what its values are.

    function: ``(outputs, reference) -> Tensor [n]``, a loss per sample. scale: ``raw`` where the losses of several
    layers add up; ``log10`` of such a loss; ``db``, 10 log10 of it, as a negated PSNR is. A logarithm is cut off at
    1e-12, as the float network would be infinitely good. name: in tables (default: the function's).

    Raises InputError on an unknown scale.
    """

    function: Metric
    scale: Scale = "raw"
    unit: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise InputError(f"a Loss is of a function (outputs, reference), not of {type(self.function).__name__}")
        if self.scale not in SCALES:
            raise InputError(f"unknown scale '{self.scale}' of a loss{nearest(self.scale, SCALES)}")


def squared_error(outputs: Tensor, reference: Tensor) -> Tensor:
    """Mean squared error per sample, [n]."""
    return (outputs - reference).square().flatten(1).mean(dim=1)


class CustomTask(Task):
    """Wraps the four things that a user's function returns."""

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
        """Rademacher: exact for a squared error, a usable order of layers for any other loss."""
        y = outputs["output"]
        signs = torch.randint(0, 2, y.shape, generator=generator).to(y) * 2 - 1
        scalar: Tensor = (y * signs).sum() / y.numel() ** 0.5
        return scalar

    def part(self) -> Part | None:
        """The first third of the samples; of a metric of the user's own nobody knows which labels go with them."""
        count = len(tree_leaves(self._evaluation)[0])
        if self.metric_is_given or count < _LEAST_WHOLE:
            return None
        rows = slice(count // 3)
        evaluation = tree_map(lambda leaf: leaf[rows] if isinstance(leaf, Tensor) else leaf, self._evaluation)
        smaller = CustomTask(self.name, self.module, self._calibration, evaluation, None)
        return Part(smaller, np.arange(count)[rows], 1 / 3)

    def workload(self) -> Workload:
        """The products of one sample's forward pass."""
        return trace(self.module, _first(self._evaluation), name=self.name)

    def data_arrays(self) -> Iterable[np.ndarray]:
        """Inputs, and what the metric closes over: labels, for instance."""
        for leaf in tree_leaves((self._calibration, self._evaluation, _held(self._metric))):
            if isinstance(leaf, Tensor):
                yield leaf.detach().cpu().numpy()
            elif isinstance(leaf, np.ndarray):
                yield leaf


def _held(metric: Any) -> list[Any]:
    """Data that a metric brings along: of a closure, of defaults, of a partial function."""
    if isinstance(metric, functools.partial):
        return [*metric.args, *metric.keywords.values(), *_held(metric.func)]
    held = [*(getattr(metric, "__defaults__", None) or ()), *(getattr(metric, "__kwdefaults__", None) or {}).values()]
    for cell in getattr(metric, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # a name that was deleted, or is not set yet
            held.append(cell.cell_contents)
    return [item for item in held if isinstance(item, (Tensor, np.ndarray, list, tuple, dict))]


def load_custom(spec: str, *, name: str | None = None, search_path: Path | None = None) -> Task:
    """Import and call the function that `spec` names; raises InputError where it does not fit."""
    with importable(search_path):
        function = named_object(spec)
        return as_task(spec, name or spec.rpartition(":")[2], function())


def as_task(spec: str, name: str, result: Any) -> Task:
    """The task `name` of what a user's function returned: a Task, or the four things that make one.

    Raises InputError, which names `spec`, where it is neither.
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
    """The same inputs with a batch of one."""
    if isinstance(inputs, Mapping):
        return {k: _first(v) for k, v in inputs.items()}
    if isinstance(inputs, (tuple, list)):
        return tuple(_first(v) for v in inputs)
    return inputs[:1] if isinstance(inputs, Tensor) and inputs.ndim else inputs
