"""Domination, hypervolume and the choice of a few points that stand for many."""

from __future__ import annotations

import moocore
import numpy as np

_SAMPLES = 20_000


def nondominated(points: np.ndarray) -> np.ndarray:
    """Bool [n]: rows of `points` [n, objectives] that no other row dominates; of equal rows the first.

    All objectives are minimised.
    """
    if len(points) < 2:
        return np.ones(len(points), dtype=bool)
    return np.asarray(moocore.is_nondominated(points, keep_weakly=False), dtype=bool)


def hypervolume(points: np.ndarray, reference: np.ndarray) -> float:
    """Exact volume dominated by `points` and bounded by `reference`, in the product of the units."""
    inside = points[(points < reference).all(axis=1)]
    return float(moocore.hypervolume(inside, ref=reference)) if len(inside) else 0.0


class Coverage:
    """Monte Carlo account of the dominated volume, for greedy choices of many points at once.

    Samples lie uniformly in the box from the ideal to the reference point, on the given scale (pass
    logarithms of costs that span decades). A point's gain is the share of samples that it would newly
    dominate: a whole set of candidates is one boolean matrix, so that greedy needs no exact volumes.
    """

    def __init__(self, ideal: np.ndarray, reference: np.ndarray, seed: int) -> None:
        rng = np.random.default_rng(seed)
        span = np.maximum(reference - ideal, 1e-12)
        self._samples = ideal + span * rng.random((_SAMPLES, len(ideal)))
        self._covered = np.zeros(_SAMPLES, dtype=bool)

    def _dominates(self, points: np.ndarray) -> np.ndarray:
        hit = np.ones((len(points), _SAMPLES), dtype=bool)
        for k in range(points.shape[1]):
            hit &= points[:, k, None] <= self._samples[None, :, k]
        return hit

    def add(self, points: np.ndarray) -> None:
        """Count `points` as present."""
        for start in range(0, len(points), 500):
            self._covered |= self._dominates(points[start : start + 500]).any(axis=0)

    def choose(self, candidates: np.ndarray, count: int) -> list[int]:
        """Up to `count` rows in order of gain, each gain given the rows before; then those without gain are left."""
        hit = self._dominates(candidates) & ~self._covered
        chosen: list[int] = []
        while len(chosen) < count:
            gain = hit.sum(axis=1)
            best = int(gain.argmax())
            if gain[best] == 0:
                break
            chosen.append(best)
            self._covered |= hit[best]
            hit &= ~hit[best]
        return chosen
