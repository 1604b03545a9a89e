"""Domination, hypervolume and the choice of a few points that stand for many."""

from __future__ import annotations

import moocore
import numpy as np
from scipy.stats import rankdata

_SAMPLES = 2**15
_LEVELS = 1024  # of each objective
_WORD = 64
_AT_ONCE = 512
_COLUMNS = 255  # of what moocore compares


def nondominated(points: np.ndarray) -> np.ndarray:
    """Bool [n]: rows of `points` [n, objectives] that no other row dominates; of equal rows the first.

    All objectives are minimised.
    """
    if len(points) < 2:
        return np.ones(len(points), dtype=bool)
    if points.shape[1] > _COLUMNS:
        return _nondominated_wide(points)
    return np.asarray(moocore.is_nondominated(points, keep_weakly=False), dtype=bool)


def _nondominated_wide(points: np.ndarray) -> np.ndarray:
    """The same by comparing each with those that were kept: O(n * kept) comparisons.

    In order of summed ranks, which stay exact where values are infinite: who is dominated comes after its dominator.
    """
    keep: list[int] = []
    ranks = rankdata(points, method="dense", axis=0).sum(axis=1)
    for row in np.lexsort((np.arange(len(points)), ranks)):
        if not (points[keep] <= points[row]).all(axis=1).any():
            keep.append(int(row))
    found = np.zeros(len(points), dtype=bool)
    found[keep] = True
    return found


def hypervolume(points: np.ndarray, reference: np.ndarray) -> float:
    """Exact volume dominated by `points` and bounded by `reference`, in the product of the units."""
    inside = points[(points < reference).all(axis=1)]
    return float(moocore.hypervolume(inside, ref=reference)) if len(inside) else 0.0


class Coverage:
    """Monte Carlo account of the dominated volume, for greedy choices of many points at once.

    Samples lie uniformly in the box from the ideal to the reference point, on the given scale (pass
    logarithms of costs that span decades). A point's gain is the share of samples that it would newly
    dominate. Which samples lie beyond a value is looked up, one bit a sample: a point's samples are the
    intersection of one row of bits per objective. Values are taken on a grid of 1/1024 of the box, rounded up.
    """

    def __init__(self, ideal: np.ndarray, reference: np.ndarray, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._ideal = ideal
        self._span = np.maximum(reference - ideal, 1e-12)
        self._beyond = np.stack([_bits_beyond(rng.random(_SAMPLES)) for _ in ideal])
        self._free = np.full(_SAMPLES // _WORD, np.iinfo(np.uint64).max, dtype=np.uint64)  # not dominated yet

    def _dominates(self, points: np.ndarray) -> np.ndarray:
        """uint64 [n, words]: a bit for each sample that a point dominates."""
        level = np.ceil((points - self._ideal) / self._span * _LEVELS)
        rows = np.clip(np.nan_to_num(level, posinf=_LEVELS), 0, _LEVELS).astype(np.int64)
        hit = self._beyond[0][rows[:, 0]]
        for k in range(1, points.shape[1]):
            hit &= self._beyond[k][rows[:, k]]
        return np.asarray(hit)

    def add(self, points: np.ndarray) -> None:
        """Count `points` as present."""
        for start in range(0, len(points), _AT_ONCE):
            self._free &= ~np.bitwise_or.reduce(self._dominates(points[start : start + _AT_ONCE]), axis=0)

    def choose(
        self,
        candidates: np.ndarray,
        count: int,
        groups: np.ndarray | None = None,
        weights: np.ndarray | None = None,
    ) -> list[int]:
        """Up to `count` rows in order of gain, each gain given the rows before; those without gain are left.

        candidates: [n, d], or [scenarios, n, d]: a gain is then the mean over the scenarios, by integer `weights`.
        groups: int [n], points that come together: the chosen are groups, a group's gain that of all its points.
        """
        scenarios = candidates if candidates.ndim == 3 else candidates[None]
        weight = np.ones(len(scenarios), dtype=np.int64) if weights is None else weights
        labels = np.arange(scenarios.shape[1]) if groups is None else groups
        order = np.argsort(labels, kind="stable")
        names, starts = np.unique(labels[order], return_index=True)
        hits = np.stack([self._joint(points[order], starts) for points in scenarios])  # [scenarios, groups, words]
        free = np.repeat(self._free[None], len(hits), axis=0)
        bound = weight @ np.bitwise_count(hits & free[:, None]).sum(axis=2, dtype=np.int64)
        chosen: list[int] = []
        while len(chosen) < count:
            best = _best(hits, free, bound, weight)
            if bound[best] == 0:
                break
            chosen.append(int(names[best]))
            free &= ~hits[:, best]
            bound[best] = 0
        self._free = np.bitwise_and.reduce(free, axis=0)
        return chosen

    def _joint(self, points: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Samples that the points of each group dominate together."""
        out = np.zeros((len(starts), len(self._free)), dtype=np.uint64)
        for begin in range(0, len(points), _AT_ONCE):
            chunk = points[begin : begin + _AT_ONCE]
            first = int(np.searchsorted(starts, begin, side="right")) - 1  # this group may have begun before
            last = int(np.searchsorted(starts, begin + len(chunk)))
            inside = np.maximum(starts[first:last] - begin, 0)
            out[first:last] |= np.bitwise_or.reduceat(self._dominates(chunk), inside, axis=0)
        return out


def _best(hits: np.ndarray, free: np.ndarray, bound: np.ndarray, weight: np.ndarray) -> int:
    """The group of most gain. Gains only shrink, so a known one is a bound: few are counted anew (Minoux, 1978)."""
    fresh: set[int] = set()
    while True:
        best = int(bound.argmax())
        if best in fresh or bound[best] == 0:
            return best
        bound[best] = weight @ np.bitwise_count(hits[:, best] & free).sum(axis=1, dtype=np.int64)
        fresh.add(best)


def _bits_beyond(values: np.ndarray) -> np.ndarray:
    """uint64 [levels + 1, words]: row r has a bit for each value of at least r levels."""
    level = np.minimum((values * _LEVELS).astype(np.int64), _LEVELS - 1)
    rows = np.zeros((_LEVELS + 1, _SAMPLES // _WORD), dtype=np.uint64)
    sample = np.arange(_SAMPLES)
    np.bitwise_or.at(rows, (level, sample // _WORD), np.uint64(1) << (sample % _WORD).astype(np.uint64))
    return np.asarray(np.bitwise_or.accumulate(rows[::-1], axis=0)[::-1])
