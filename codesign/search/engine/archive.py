"""`Archive`: the Pareto front of all assignments added so far, updated incrementally."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from codesign.search.engine.combiner import Combiner
from codesign.search.engine.pareto import nondominated
from codesign.search.engine.points import AcceleratorClass, Designs, Pool, PricedAssignments


class Archive:
    """The Pareto front of all assignments added so far, over all accelerators.

    Adding assignments prices only the new ones, and compares only designs with a new one against the front.
    `Designs.index` of the front counts assignments in the order in which they were added.
    """

    def __init__(self, combiner: Combiner, accelerators: Sequence[np.ndarray] | None = None) -> None:
        self._combiner = combiner
        self._chips = [chips for chips in combiner.accelerator_classes(accelerators) if len(chips.members)]
        self._priced: list[dict[str, PricedAssignments]] = [{} for _ in self._chips]
        self._added = dict.fromkeys(combiner.tables, 0)
        self.front = Designs.concatenate([], list(combiner.tables), len(combiner.objectives))

    def add(self, pools: Mapping[str, Pool]) -> None:
        """Add assignments of every network, and update the front."""
        found = [self.front]
        for chips, known in zip(self._chips, self._priced, strict=True):
            found += self._more(chips, known, pools)
        for task, pool in pools.items():
            self._added[task] += len(pool.choices)
        every = Designs.concatenate(found, list(self._added), self.front.objectives.shape[1])
        self.front = every.take(np.flatnonzero(nondominated(every.objectives)))

    def _more(
        self, chips: AcceleratorClass, known: dict[str, PricedAssignments], pools: Mapping[str, Pool]
    ) -> Iterator[Designs]:
        """Non-dominated designs of these accelerators with at least one new assignment; updates `known`."""
        combiner, fresh = self._combiner, {}
        for task, pool in pools.items():
            priced = combiner.priced_pool(task, chips, pool)
            priced = replace(priced, rows=priced.rows + self._added[task])
            known[task] = combiner.pruned(task, known[task].extended(priced)) if task in known else priced
            fresh[task] = known[task].rows >= self._added[task]
        for i in range(len(pools)):  # each design once: network i is the first with a new assignment
            subset = {t: known[t].take(_wanted(fresh[t], k, i)) for k, t in enumerate(pools)}
            if all(len(assignments.rows) for assignments in subset.values()):
                designs = combiner.joined(chips.members, subset)
                yield designs.take(np.flatnonzero(nondominated(designs.objectives)))


def _wanted(fresh: np.ndarray, place: int, turn: int) -> np.ndarray:
    """Rows of the network at `place`: old ones if it comes before network `turn`, new ones if it is that, else all."""
    return np.flatnonzero(~fresh if place < turn else fresh if place == turn else np.ones_like(fresh))
