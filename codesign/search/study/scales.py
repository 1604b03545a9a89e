"""The scale of every network's losses, from its measured uniform designs."""

from __future__ import annotations

import numpy as np

from codesign.quality import Quality
from codesign.search.engine.scale import AboveFloat
from codesign.search.study.study import OpenStudy

_LEAST = 0.1  # smallest raw loss, as a share of the least positive loss of a uniform design


def loss_scales(study: OpenStudy) -> dict[str, AboveFloat]:
    """The scale of every network's losses above its float value.

    Losses below 0.1 of the least positive loss of a uniform design are raised to it, as logarithms are learned; for a
    metric whose scale is ``raw``, also losses below the noise of the comparison with the float network.
    """
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
    """Standard deviation of a loss above the float network's on paired resamples; 0 for a distance from it."""
    return float(np.subtract(quality.draws, own.draws).std(ddof=1)) if own.value and quality.draws else 0.0
