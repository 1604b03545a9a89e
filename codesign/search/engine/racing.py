"""Racing: an assignment that is hopeless on a subset of the samples is not run on the others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import norm

from codesign.quality import Quality
from codesign.search.engine.engine import Engine, Proposal
from codesign.search.engine.scale import Scale

_SURE = 2.0  # margin of the predicted loss above the front's, in standard deviations, to give an assignment up
_LEAST = 8  # assignments measured on all samples before any is given up


class Racing:
    """Predicts the loss on all samples from that on a subset, for every network.

    The ratio of the two is log-normal; its parameters are estimated from assignments measured on all samples.

    Args:
        scales: network -> scale between its metric and raw losses.
        shares: network -> the subset's share of the samples.
    """

    def __init__(self, scales: Mapping[str, Scale], shares: Mapping[str, float]) -> None:
        self._scales = scales
        self._shares = shares
        self._factors: dict[str, list[float]] = {name: [] for name in scales}  # log(loss on all / loss on the subset)

    def learn(self, name: str, qualities: Sequence[Quality]) -> None:
        """Add assignments measured on all samples; those without a value on the subset are ignored."""
        for quality in qualities:
            if quality.part is not None:
                self._factors[name].append(self._log(name, quality.value) - self._log(name, quality.part))

    def whole(self, name: str, part: float) -> float:
        """The metric's predicted value on all samples, given its value on the subset."""
        return self._scales[name].from_raw(math.exp(self._log(name, part) + self._factor(name)[0]))

    def enough(self, engine: Engine, proposal: Proposal) -> dict[str, float]:
        """Network -> value on the subset above which the assignment cannot be on the front, for `Proposal.enough`.

        Networks for which racing does not pay are left out: the probability of giving up must exceed the subset's
        share of the samples, which is what evaluating it first costs.
        """
        found = {}
        for name, worst in proposal.useful_below.items():
            if name not in self._shares or len(self._factors[name]) < _LEAST or not math.isfinite(worst):
                continue
            factor, spread = self._factor(name)
            limit = self._log(name, worst) + _SURE * spread - factor
            mean, doubt = engine.belief(name, proposal.choices[name])
            hopeless = norm.sf((limit + factor - mean) / math.hypot(doubt, spread))
            if hopeless > self._shares[name]:
                found[name] = self._scales[name].from_raw(math.exp(limit))
        return found

    def _factor(self, name: str) -> tuple[float, float]:
        factors: Sequence[float] = self._factors[name]
        return float(np.mean(factors)), float(np.std(factors, ddof=1))

    def _log(self, name: str, value: float) -> float:
        return math.log(max(self._scales[name].raw(value), 1e-300))
