"""The scale of every network's losses, once its uniform designs were measured."""

from __future__ import annotations

import numpy as np

from codesign.search.engine.scale import AboveFloat
from codesign.search.study.study import Study

_LEAST = 0.1  # of the least positive loss of a uniform design: what lies below is as good


def loss_scales(study: Study) -> dict[str, AboveFloat]:
    """The scale of every network, from its float value and from the uniform designs that were measured."""
    found = {}
    for name, network in study.space.networks.items():
        float_raw = network.task.raw(study.float_values[name])
        losses = np.array([network.task.raw(q.value) - float_raw for q in study.measured[name].qualities])
        positive = losses[losses > 0]
        least = _LEAST * float(positive.min()) if len(positive) else max(float(np.abs(losses).max(initial=0.0)), 1e-30)
        found[name] = AboveFloat(network.task, float_raw, least)
    return found
