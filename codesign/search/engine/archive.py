"""The front of everything added so far."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from codesign.search.engine.combiner import Combiner
from codesign.search.engine.pareto import nondominated
from codesign.search.engine.points import Alike, Designs, Offer, Pool


class Archive:
    """The front of everything added so far: what was there already is neither priced nor compared again.

    Designs point at assignments by their place among all that were added.
    """

    def __init__(self, combiner: Combiner, accelerators: Sequence[np.ndarray] | None = None) -> None:
        self._combiner = combiner
        self._chips = [chips for chips in combiner.alike(accelerators) if len(chips.members)]
        self._offers: list[dict[str, Offer]] = [{} for _ in self._chips]
        self._added = dict.fromkeys(combiner.tables, 0)
        self.front = Designs.concatenate([], list(combiner.tables), len(combiner.objectives))

    def add(self, pools: Mapping[str, Pool]) -> None:
        """Count more assignments of every network as present."""
        found = [self.front]
        for chips, known in zip(self._chips, self._offers, strict=True):
            found += self._more(chips, known, pools)
        for task, pool in pools.items():
            self._added[task] += len(pool.choices)
        every = Designs.concatenate(found, list(self._added), self.front.objectives.shape[1])
        self.front = every.take(np.flatnonzero(nondominated(every.objectives)))

    def _more(self, chips: Alike, known: dict[str, Offer], pools: Mapping[str, Pool]) -> Iterator[Designs]:
        """The designs of these accelerators with a new assignment; `known` is brought up to date."""
        combiner, fresh = self._combiner, {}
        for task, pool in pools.items():
            offer = combiner.offer(task, chips, pool)
            offer = replace(offer, rows=offer.rows + self._added[task])
            known[task] = combiner.best(task, known[task].and_(offer)) if task in known else offer
            fresh[task] = known[task].rows >= self._added[task]
        for i in range(len(pools)):  # old ones of the networks before, a new one of this, any of those after
            offers = {t: known[t].take(_wanted(fresh[t], k, i)) for k, t in enumerate(pools)}
            if all(len(o.rows) for o in offers.values()):
                designs = combiner.joined(chips.members, offers)
                yield designs.take(np.flatnonzero(nondominated(designs.objectives)))


def _wanted(fresh: np.ndarray, place: int, turn: int) -> np.ndarray:
    return np.flatnonzero(~fresh if place < turn else fresh if place == turn else np.ones_like(fresh))
