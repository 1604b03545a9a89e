"""The scale of every network's losses, once its uniform designs were measured."""

from __future__ import annotations

import numpy as np

from codesign.quality import Quality
from codesign.search.engine.scale import AboveFloat
from codesign.search.study.study import OpenStudy

_LEAST = 0.1  # of the least positive loss of a uniform design: what lies below is as good


def loss_scales(study: OpenStudy) -> dict[str, AboveFloat]:
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
