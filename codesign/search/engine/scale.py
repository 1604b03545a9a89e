"""The scale on which the losses of a network's layers add up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Scale(Protocol):
    """From a metric to a raw loss, positive and additive over layers, and back."""

    def raw(self, value: float) -> float: ...

    def from_raw(self, raw: float) -> float: ...


@dataclass(frozen=True)
class AboveFloat:
    """What a metric loses against the float network.

    metric: its scale alone; float_raw: raw value of the float network itself, zero for a distance from it, not for an
    error against labels; least: the smallest raw loss that is told from none, since noise may make a network as good as
    the float one, or better, and logarithms are learned.
    """

    metric: Scale
    float_raw: float
    least: float

    def raw(self, value: float) -> float:
        return max(self.metric.raw(value) - self.float_raw, self.least)

    def from_raw(self, raw: float) -> float:
        return self.metric.from_raw(raw + self.float_raw)


def raw_losses(scale: Scale, values: np.ndarray) -> np.ndarray:
    """`Scale.raw` of many values, of any shape."""
    distinct, place = np.unique(values, return_inverse=True)
    return np.array([scale.raw(float(v)) for v in distinct])[place].reshape(values.shape)


def log_losses(scale: Scale, values: np.ndarray) -> np.ndarray:
    """Logarithms of raw losses."""
    return np.asarray(np.log(np.maximum(raw_losses(scale, values), 1e-300)))
