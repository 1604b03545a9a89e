"""Dominance under measurement noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from codesign.search.engine.points import Designs
from codesign.search.space.objectives import Objective

_SIGNIFICANT = 1.959964  # standard deviations of a difference: 95 %


def told_apart(front: Designs, objectives: Sequence[Objective], spreads: Sequence[np.ndarray]) -> np.ndarray:
    """The designs of a front that are better than every cheaper kept design by more than noise.

    Greedy filter in order of cost: a design is dropped if a kept one costs no more in any objective and its qualities
    are equal or better, where a difference of less than 1.96 standard deviations of its paired bootstrap resamples
    (both networks are measured on the same samples) counts as none. In a chain of designs, each equal to the next
    within noise, those stay that are better than the last kept one. O(n * kept) comparisons.

    Args:
        front: n designs.
        objectives: the objectives of the front.
        spreads: for each quality among the objectives, in order, its resamples [n, draws]; [n, 0] if there are none,
            and every difference counts.
    Returns:
        bool [n].
    """
    is_quality = np.array([o.is_quality for o in objectives])
    cost, quality = front.objectives[:, ~is_quality], front.objectives[:, is_quality]
    keep: list[int] = []
    for row in np.lexsort((quality.sum(axis=1), _rank(cost))):
        cheaper = np.array(keep, dtype=np.int64)
        cheaper = cheaper[(cost[cheaper] <= cost[row]).all(axis=1)]
        as_good = np.ones(len(cheaper), dtype=bool)
        for column, drawn in enumerate(spreads):
            noise = (drawn[cheaper] - drawn[row]).std(axis=1, ddof=1) if drawn.shape[1] > 1 else 0.0
            as_good &= quality[cheaper, column] - quality[row, column] <= _SIGNIFICANT * noise
        if not as_good.any():
            keep.append(int(row))
    found = np.zeros(len(front), dtype=bool)
    found[keep] = True
    return found


def _rank(cost: np.ndarray) -> np.ndarray:
    """A number per design, [n], that is monotone in all costs: their summed logarithms."""
    return np.asarray(np.log(np.maximum(cost, 1e-300)).sum(axis=1))
