"""Domination that minds the noise of measurements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from codesign.search.engine.points import Designs
from codesign.search.space.objectives import Objective

_SIGNIFICANT = 1.959964  # standard deviations of a difference: 95 %


def told_apart(front: Designs, objectives: Sequence[Objective], spreads: Sequence[np.ndarray]) -> np.ndarray:
    """bool [n]: designs of a front that no other kept one equals within noise while it costs no more in anything.

    The difference of two measured qualities is noise where it is less than 1.96 standard deviations of its resamples,
    which are paired: both networks were measured on the same samples. The cheapest come first, so that of a chain of
    designs, each as good as the next, those stay that are better than what was kept.

    spreads: of each quality among the objectives, in order, its resamples by design, [n, draws]; [n, 0] where none
    were kept, and every difference counts. O(n * kept) comparisons.
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
    """A number per design, [n], that is lower for one that costs less in everything."""
    return np.asarray(np.log(np.maximum(cost, 1e-300)).sum(axis=1))
