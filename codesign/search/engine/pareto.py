"""Pareto dominance, hypervolume, and greedy hypervolume subset selection. All objectives are minimised."""

from __future__ import annotations

import moocore
import numpy as np

_SAMPLES = 2**15  # Monte Carlo samples of the hypervolume
_LEVELS = 1024  # grid of each objective
_WORD = 64  # bits
_AT_ONCE = 512  # points per vectorised step
_COLUMNS = 255  # most objectives that moocore compares


def nondominated(points: np.ndarray) -> np.ndarray:
    """The non-dominated rows of `points` [n, d], bool [n]; of equal rows the first.

    Exact, by moocore: O(n log n) for d <= 3, O(n log^(d-2) n) beyond (Kung et al., 1975); O(n * front) for d > 255.
    """
    if len(points) < 2:
        return np.ones(len(points), dtype=bool)
    if points.shape[1] > _COLUMNS:
        return _nondominated_wide(points)
    return np.asarray(moocore.is_nondominated(points, keep_weakly=False), dtype=bool)


def _nondominated_wide(points: np.ndarray) -> np.ndarray:
    """`nondominated` for any number of objectives, by comparing each row with those kept: O(n * kept) comparisons.

    Rows are visited by their sum of ranks, so that a row comes after all rows that dominate it. Sums of ranks, unlike
    sums of values, are exact and finite.
    """
    keep: list[int] = []
    ranks = np.sum([np.unique(column, return_inverse=True)[1] for column in points.T], axis=0)
    for row in np.lexsort((np.arange(len(points)), ranks)):
        if not (points[keep] <= points[row]).all(axis=1).any():
            keep.append(int(row))
    found = np.zeros(len(points), dtype=bool)
    found[keep] = True
    return found


def hypervolume(points: np.ndarray, reference: np.ndarray) -> float:
    """The hypervolume that `points` [n, d] dominate, bounded by `reference` [d], in the product of the units.

    Exact, by moocore: O(n log n) for d <= 3, O(n^2) for d = 4, O(n^(d-2)) beyond (Fonseca et al., 2006).
    """
    inside = points[(points < reference).all(axis=1)]
    return float(moocore.hypervolume(inside, ref=reference)) if len(inside) else 0.0


class Coverage:
    """Monte Carlo estimate of the dominated hypervolume, for greedy selection of points.

    2^15 samples are uniform in the box from the ideal to the reference point, on the scale of the given points (pass
    logarithms of costs that span decades). The gain of a point is the share of samples that it newly dominates; its
    standard error is at most 0.3 % of the box. Objectives are rounded up to a grid of 1/1024 of the box. For each
    objective and level a bit set holds the samples beyond it, so that the samples which a point dominates are the
    intersection of d bit sets: O(d * samples / 64) per point.

    Args:
        ideal: ideal point [d].
        reference: reference point [d].
        seed: of the samples.
    """

    def __init__(self, ideal: np.ndarray, reference: np.ndarray, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._ideal = ideal
        self._span = np.maximum(reference - ideal, 1e-12)
        self._beyond = np.stack([_bits_beyond(rng.random(_SAMPLES)) for _ in ideal])
        self._free = np.full(_SAMPLES // _WORD, np.iinfo(np.uint64).max, dtype=np.uint64)  # not dominated yet

    def _dominates(self, points: np.ndarray) -> np.ndarray:
        """The samples that each point dominates, as bit sets, uint64 [n, words]."""
        level = np.ceil((points - self._ideal) / self._span * _LEVELS)
        rows = np.clip(np.nan_to_num(level, posinf=_LEVELS), 0, _LEVELS).astype(np.int64)
        hit = self._beyond[0][rows[:, 0]]
        for k in range(1, points.shape[1]):
            hit &= self._beyond[k][rows[:, k]]
        return np.asarray(hit)

    def add(self, points: np.ndarray) -> None:
        """Add points [n, d] to the dominated volume."""
        for start in range(0, len(points), _AT_ONCE):
            self._free &= ~np.bitwise_or.reduce(self._dominates(points[start : start + _AT_ONCE]), axis=0)

    def choose(
        self,
        candidates: np.ndarray,
        count: int,
        groups: np.ndarray | None = None,
        weights: np.ndarray | None = None,
    ) -> list[int]:
        """Select up to `count` rows greedily by gain, add them to the dominated volume, and return them in that order.

        Each gain is conditional on the rows selected before; rows without gain are not selected. As the gain is
        monotone and submodular, the selected set has at least 1 - 1/e of the greatest possible gain (Nemhauser et
        al., 1978).

        Args:
            candidates: [n, d], or [scenarios, n, d] with a gain that is the weighted mean over scenarios.
            count: most rows to select.
            groups: int [n]; points of a group are selected together, and the labels of groups returned.
            weights: integer weights of the scenarios.
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
        """The samples that each group of consecutive points dominates, as bit sets, uint64 [groups, words]."""
        out = np.zeros((len(starts), len(self._free)), dtype=np.uint64)
        for begin in range(0, len(points), _AT_ONCE):
            chunk = points[begin : begin + _AT_ONCE]
            first = int(np.searchsorted(starts, begin, side="right")) - 1  # this group may have begun before
            last = int(np.searchsorted(starts, begin + len(chunk)))
            inside = np.maximum(starts[first:last] - begin, 0)
            out[first:last] |= np.bitwise_or.reduceat(self._dominates(chunk), inside, axis=0)
        return out


def _best(hits: np.ndarray, free: np.ndarray, bound: np.ndarray, weight: np.ndarray) -> int:
    """The group of greatest gain, by lazy evaluation (Minoux, 1978).

    Gains only shrink, so that an earlier gain is an upper bound, and few gains are computed again.
    """
    fresh: set[int] = set()
    while True:
        best = int(bound.argmax())
        if best in fresh or bound[best] == 0:
            return best
        bound[best] = weight @ np.bitwise_count(hits[:, best] & free).sum(axis=1, dtype=np.int64)
        fresh.add(best)


def _bits_beyond(values: np.ndarray) -> np.ndarray:
    """Bit sets uint64 [levels + 1, words]: row r holds the values in 0..1 of at least r / _LEVELS."""
    level = np.minimum((values * _LEVELS).astype(np.int64), _LEVELS - 1)
    rows = np.zeros((_LEVELS + 1, _SAMPLES // _WORD), dtype=np.uint64)
    sample = np.arange(_SAMPLES)
    np.bitwise_or.at(rows, (level, sample // _WORD), np.uint64(1) << (sample % _WORD).astype(np.uint64))
    return np.asarray(np.bitwise_or.accumulate(rows[::-1], axis=0)[::-1])
