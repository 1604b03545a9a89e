"""When a part of the samples is enough: an assignment that is hopeless on these is not run on the others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import norm

from codesign.quality import Quality
from codesign.search.engine.engine import Engine, Proposal
from codesign.search.engine.scale import Scale

_SURE = 2.0  # standard deviations between what a part says and what the whole must be for a place on the front
_LEAST = 8  # assignments measured whole, before anything is said about parts


class Racing:
    """What parts of the samples said of the wholes, by network, and what follows for the next candidates.

    The whole's loss is the part's times a factor, which assignments measured whole teach: its mean says how hard the
    part's samples are, its spread how much to trust them. Everything follows from the order of `learn`.
    """

    def __init__(self, scales: Mapping[str, Scale], shares: Mapping[str, float]) -> None:
        """shares: of the samples that the part has, by network."""
        self._scales = scales
        self._shares = shares
        self._factors: dict[str, list[float]] = {name: [] for name in scales}  # logarithms

    def learn(self, name: str, qualities: Sequence[Quality]) -> None:
        """More assignments that were measured whole, each once, in order; those without a part say nothing."""
        for quality in qualities:
            if quality.part is not None:
                self._factors[name].append(self._log(name, quality.value) - self._log(name, quality.part))

    def whole(self, name: str, part: float) -> float:
        """The metric's expected value on all samples where it is `part` on the part."""
        return self._scales[name].from_raw(math.exp(self._log(name, part) + self._factor(name)[0]))

    def enough(self, engine: Engine, proposal: Proposal) -> dict[str, float]:
        """By network the value of the part beyond which the whole has no place on the front, if asking is worth it.

        It is where it is likelier to spare the other samples than the part is of the whole.
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
