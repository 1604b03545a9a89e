"""How far a network's outputs on its calibration data move when the operands of its products are rounded."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from codesign.models.preparation.running import called_outputs
from codesign.models.task import Task
from codesign.workload import Product, ProductInterceptor

Rounding = Callable[[Product], tuple[Tensor, Tensor] | None]  # both operands of a product; None: as they are


class OutputTrial:
    """The float network's outputs in a calibration run, to which those of other runs are compared."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def distance(self, rounding: Rounding) -> float:
        """Squared distance of the outputs with rounded operands; infinite if they are not finite, or others."""
        reference, found = self._reference, self._outputs(rounding)
        if len(found) != len(reference):
            return math.inf
        total = sum(map(_squared, found, reference))
        return total if math.isfinite(total) else math.inf

    @cached_property
    def _reference(self) -> list[Tensor]:
        return self._outputs(lambda _: None)

    def _outputs(self, rounding: Rounding) -> list[Tensor]:
        with ProductInterceptor(self._task.module, rounding, decompose=True):
            outputs = called_outputs(self._task, self._task.module)
        return [each for each in outputs if each.is_floating_point()]


def _squared(found: Tensor, wanted: Tensor) -> float:
    """Squared distance; infinite if shapes or places of infinities and NaN (a mask's) are others."""
    finite = wanted.isfinite()
    if found.shape != wanted.shape or not torch.equal(found.isfinite(), finite):
        return math.inf
    return float((found[finite].double() - wanted[finite].double()).square().sum())
