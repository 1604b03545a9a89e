"""The choice of a few designs that represent a front."""

from __future__ import annotations

import numpy as np

from codesign.search.engine.pareto import Coverage
from codesign.search.engine.points import Designs

_COMPARED = 4000  # designs of a front, drawn at random, among which representatives are chosen


def representatives(front: Designs, limit: int, seed: int) -> np.ndarray:
    """Rows of at most `limit` designs that represent the front, ascending, int [<= limit].

    The best design of each objective, then greedy hypervolume subset selection on Monte Carlo samples (`Coverage`).
    """
    if len(front) <= limit:
        return np.arange(len(front))
    points = unit_box(front.objectives)
    extremes = list(dict.fromkeys(int(i) for i in front.objectives.argmin(axis=0)))
    rng = np.random.default_rng(seed)
    some = np.arange(len(front)) if len(front) <= _COMPARED else np.sort(rng.permutation(len(front))[:_COMPARED])
    coverage = Coverage(np.zeros(points.shape[1]), np.full(points.shape[1], 1.05), seed=seed)
    coverage.add(points[extremes])
    rest = [int(some[i]) for i in coverage.choose(points[some], limit - len(extremes)) if some[i] not in extremes]
    return np.sort(np.array((extremes + rest)[:limit], dtype=np.int64))


def unit_box(points: np.ndarray) -> np.ndarray:
    """Objectives [n, d] scaled to 0..1 over the front; objectives with positive values alone by their logarithm."""
    logs = np.where((points > 0).all(axis=0), np.log(np.maximum(points, 1e-300)), points)
    low, high = logs.min(axis=0), logs.max(axis=0)
    return np.asarray((logs - low) / np.maximum(high - low, 1e-12))


def balanced(front: Designs) -> int:
    """Row of the design closest to the ideal point of the front, by Euclidean distance in the unit box."""
    return int(np.square(unit_box(front.objectives)).sum(axis=1).argmin())
