"""The scale on which the losses of a network's layers add up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from codesign.quality import Quality
from codesign.search.study import Study

_LEAST = 0.1  # of the least positive loss of a uniform design: what lies below is as good


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


def loss_scales(study: Study) -> dict[str, AboveFloat]:
    """The scale of every network, from its float value and from the uniform designs that were measured."""
    found = {}
    for name, network in study.space.networks.items():
        own, uniform = study.float_qualities[name], study.measured[name].qualities
        float_raw = network.task.raw(own.value)
        losses = np.array([network.task.raw(q.value) - float_raw for q in uniform])
        positive = losses[losses > 0]
        least = _LEAST * float(positive.min()) if len(positive) else max(float(np.abs(losses).max(initial=0.0)), 1e-30)
        if network.task.scale == "raw":
            least = max(least, min((_noise(q, own) for q in uniform), default=0.0))
        found[name] = AboveFloat(network.task, float_raw, least)
    return found


def _noise(quality: Quality, own: Quality) -> float:
    """Standard deviation of a loss against the float network on the same resamples; none of a distance from it."""
    return float(np.subtract(quality.draws, own.draws).std(ddof=1)) if own.value and quality.draws else 0.0


def raw_losses(scale: Scale, values: np.ndarray) -> np.ndarray:
    """`Scale.raw` of many values, of any shape."""
    distinct, place = np.unique(values, return_inverse=True)
    return np.array([scale.raw(float(v)) for v in distinct])[place].reshape(values.shape)


def log_losses(scale: Scale, values: np.ndarray) -> np.ndarray:
    """Logarithms of raw losses."""
    return np.asarray(np.log(np.maximum(raw_losses(scale, values), 1e-300)))
