"""How far a network's outputs on its calibration data move when the operands of its products are rounded."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from codesign.models.preparation.running import leaves
from codesign.models.task import Task
from codesign.workload import Product, ProductInterceptor

_SAMPLED = 1 << 16  # numbers of an output that are compared

Rounding = Callable[[Product], tuple[Tensor, Tensor]]  # both operands of a product


class OutputTrial:
    """The float network's outputs in a calibration run, to which those of other runs are compared."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._reference: list[Tensor] = []

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Context of the float network's run."""
        with self._watched(self._reference):
            yield

    def distance(self, rounding: Rounding) -> float:
        """Squared distance of the outputs with rounded operands; infinite if they are not finite, or others."""
        found: list[Tensor] = []
        with (
            self._watched(found),
            torch.inference_mode(),
            ProductInterceptor(self._task.module, rounding, decompose=True),
        ):
            self._task.calibrate(self._task.module)
        if len(found) != len(self._reference):
            return math.inf
        total = sum(map(_squared, found, self._reference))
        return total if math.isfinite(total) else math.inf

    @contextmanager
    def _watched(self, into: list[Tensor]) -> Iterator[None]:
        def note(_module: object, _given: object, outputs: Any) -> None:
            into.extend(_some(leaf) for leaf in leaves(outputs) if leaf.is_floating_point())

        hook = self._task.module.register_forward_hook(note)
        try:
            yield
        finally:
            hook.remove()


def _squared(found: Tensor, wanted: Tensor) -> float:
    """Squared distance; infinite if shapes or places of infinities and NaN (a mask's) are others."""
    finite = wanted.isfinite()
    if found.shape != wanted.shape or not torch.equal(found.isfinite(), finite):
        return math.inf
    return float((found[finite].double() - wanted[finite].double()).square().sum())


def _some(x: Tensor) -> Tensor:
    """Evenly spread numbers of an output; an odd step does not keep to the same columns."""
    flat = x.detach().reshape(-1)
    step = -(-len(flat) // _SAMPLED) | 1 if len(flat) > _SAMPLED else 1
    return flat[::step].clone()
