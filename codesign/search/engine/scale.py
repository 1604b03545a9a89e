"""The scale of raw losses, on which the losses of a network's layers are additive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Scale(Protocol):
    """Conversion between a metric and a raw loss, which is positive and additive over layers."""

    def raw(self, value: float) -> float:
        """The raw loss of a metric's value."""

    def from_raw(self, raw: float) -> float:
        """The metric's value of a raw loss."""


@dataclass(frozen=True)
class AboveFloat:
    """The scale of a metric's loss above that of the float network."""

    metric: Scale
    float_raw: float  # raw value of the float network: zero for a distance from it, not for an error against labels
    least: float  # smallest raw loss: noise may make a network as good as the float one, and logarithms are taken

    def raw(self, value: float) -> float:
        return max(self.metric.raw(value) - self.float_raw, self.least)

    def from_raw(self, raw: float) -> float:
        return self.metric.from_raw(raw + self.float_raw)


def raw_losses(scale: Scale, values: np.ndarray) -> np.ndarray:
    """`Scale.raw` of an array of any shape."""
    distinct, place = np.unique(values, return_inverse=True)
    return np.array([scale.raw(float(v)) for v in distinct])[place].reshape(values.shape)


def log_losses(scale: Scale, values: np.ndarray) -> np.ndarray:
    """Logarithms of `raw_losses`."""
    return np.asarray(np.log(np.maximum(raw_losses(scale, values), 1e-300)))
