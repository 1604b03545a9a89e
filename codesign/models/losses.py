"""Metrics of a network's outputs, sample by sample: the loss that decides, and what a report shows besides."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from codesign.errors import InputError, nearest
from codesign.models.probes import kl_of_logits, rademacher
from codesign.terms import SCALES, Direction, Scale

Function = Callable[..., Tensor]  # (outputs, reference) or (outputs, reference, labels) -> Tensor [n]
Probe = Literal["squared_error", "kl"] | Callable[[Tensor, torch.Generator], Tensor]
PROBES: Mapping[str, Callable[[Tensor, torch.Generator], Tensor]] = {"squared_error": rademacher, "kl": kl_of_logits}


@dataclass(frozen=True)
class Metric:
    """A metric of every sample, for reports: ``function(outputs, reference)`` or, with labels, three arguments.

    outputs, reference: Tensor [n, ...] of the network and of the float network; labels: those of the `Batch`.
    """

    function: Function  # -> Tensor [n], or [n, k] where `reduce` needs more than a number of each sample
    name: str = ""  # in tables; by default the function's
    unit: str = ""
    direction: Direction = "maximize"
    reduce: Callable[[np.ndarray], float] = lambda values: float(values.mean())  # of the samples, [n, ...]

    def __post_init__(self) -> None:
        _check_function(self.function, "Metric")

    def __call__(self, outputs: Tensor, reference: Tensor, labels: Any = None) -> Tensor:
        return called(self.function, outputs, reference, labels)


@dataclass(frozen=True)
class Loss:
    """The metric that decides, with its scale and unit. Raises InputError on an unknown scale or probe."""

    function: Function  # (outputs, reference) or (outputs, reference, labels) -> Tensor [n], a loss per sample
    # raw: losses of several layers add up; log10: the log10 of such a loss; db: 10 log10 of it, such as a negated PSNR.
    # None: a loss that is zero on the float network's own outputs and positive elsewhere spans decades, and is searched
    # on the log10 of its mean; any other is raw. Logarithms are clamped at a loss of 1e-12.
    scale: Scale | None = None
    unit: str = ""
    name: str = ""  # in tables; by default the function's
    # what the sensitivities backpropagate, see `Task.probe`: squared_error, kl (of logits), or a function (outputs,
    # generator) -> scalar; a wrong one costs evaluations, not correctness
    probe: Probe = "squared_error"
    reduce: Callable[[np.ndarray], float] | None = None  # of the samples' losses [n]; None: their mean

    def __post_init__(self) -> None:
        _check_function(self.function, "Loss")
        if self.scale is not None and self.scale not in SCALES:
            raise InputError(f"unknown scale '{self.scale}' of a loss{nearest(self.scale, SCALES)}")
        if not callable(self.probe) and self.probe not in PROBES:
            raise InputError(f"unknown probe '{self.probe}' of a loss{nearest(self.probe, PROBES)}")

    def __call__(self, outputs: Tensor, reference: Tensor, labels: Any = None) -> Tensor:
        return called(self.function, outputs, reference, labels)

    def backpropagated(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """The scalar of `Task.probe`."""
        return (self.probe if callable(self.probe) else PROBES[self.probe])(outputs, generator)


def _check_function(function: object, kind: str) -> None:
    if not callable(function):
        raise InputError(f"a {kind} is of a function (outputs, reference), not of {type(function).__name__}")


def called(function: Function, outputs: Tensor, reference: Tensor, labels: Any) -> Tensor:
    """Call a metric, with labels if it takes three arguments."""
    return function(outputs, reference, labels) if _takes_labels(function) else function(outputs, reference)


def _takes_labels(function: Function) -> bool:
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some builtins have none
        return False
    places = [p for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len([p for p in places if p.default is p.empty]) >= 3


def squared_error(outputs: Tensor, reference: Tensor) -> Tensor:
    """Mean squared error of each sample, [n], computed in float32 or better."""
    if not outputs.is_floating_point():
        raise InputError(f"the network returns {outputs.dtype}, for which squared error is no loss: give a metric")
    wide = torch.promote_types(outputs.dtype, torch.float32)
    return (outputs.to(wide) - reference.to(wide)).square().reshape(len(outputs), -1).mean(dim=1)


def spans_decades(loss: Loss, outputs: Tensor, labels: Any) -> bool:
    """Whether a loss is zero on the float network's outputs, and positive on all samples of outputs near them."""
    own = loss(outputs, outputs, labels)
    if not isinstance(own, Tensor) or not outputs.is_floating_point() or bool((own != 0).any()):
        return False
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(outputs.shape, generator=generator).to(outputs)
    near = loss(outputs + 0.01 * outputs.abs().mean() * noise, outputs, labels)
    return bool((near > 0).all())
