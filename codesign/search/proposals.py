"""Which assignments are worth a look: hull vertices of many accelerators, and mutants of good ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from codesign.search.allocation import lagrangian, price_range
from codesign.search.combine import Combiner

_PRICES = 12
_GROUPS = 80  # of accelerators with the same pairs that a round looks at
_ACCELERATORS = 426  # that a round looks at, drawn anew every time
_MUTANTS = 300


def drawn_accelerators(combiner: Combiner, rng: np.random.Generator) -> list[np.ndarray]:
    """A few members of every group of accelerators with the same unit; of some groups where there are many.

    The cost of an assignment depends on the accelerator, so each has a hull of its own; over the rounds all come up.
    """
    groups = combiner.groups
    looked = set(rng.permutation(len(groups))[:_GROUPS].tolist())
    each = max(1, _ACCELERATORS // len(looked))
    return [
        np.sort(rng.choice(members, size=min(each, len(members)), replace=False)) if g in looked else members[:0]
        for g, members in enumerate(groups)
    ]


def hull_vertices(combiner: Combiner, task: str, loss: np.ndarray, accelerators: Sequence[np.ndarray]) -> np.ndarray:
    """Assignments [n, L] of least predicted `loss` [L, C] at every price of every cost, on these accelerators."""
    found = [np.zeros((0, len(loss)), dtype=np.int64)]
    for support, members in zip(combiner.supports, accelerators, strict=True):
        columns = np.flatnonzero(support)
        table = loss[:, columns]
        if not len(members) or not np.isfinite(table).any(axis=1).all():
            continue  # a layer that may take none of this unit's pairs
        found.append(columns[table.argmin(axis=1)][None])
        for field in combiner.fields(task):
            costs = combiner.tables[task].additive(field, members)[..., columns]
            costs = costs[np.isfinite(costs[:, np.isfinite(table)]).all(axis=1)]  # a layer without a tile is infinite
            if len(costs):
                picks = lagrangian(table, costs, price_range(table, costs.mean(axis=0), _PRICES))
                found.append(columns[picks].reshape(-1, len(loss)))
    return np.unique(np.concatenate(found), axis=0)


def mutants(combiner: Combiner, elite: np.ndarray, allowed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Elite assignments [m, L] crossed with each other and with a few layers changed, each for one unit's pairs.

    allowed: bool [L, C]. For what a prediction by sums cannot see.
    """
    if not len(elite):
        return elite
    out = []
    for _ in range(_MUTANTS):
        row = elite[rng.integers(len(elite))].copy()
        units = combiner.supports[combiner.supports[:, row].all(axis=1)]
        if not len(units):
            continue
        choices = allowed & units[rng.integers(len(units))]
        if rng.random() < 0.5:
            partner = elite[rng.integers(len(elite))]
            swap = choices[np.arange(len(row)), partner] & (rng.random(len(row)) < 0.5)
            row[swap] = partner[swap]
        for layer in rng.choice(len(row), size=int(rng.integers(1, 4)), replace=False):
            row[layer] = rng.choice(np.flatnonzero(choices[layer]))
        out.append(row)
    return np.array(out).reshape(-1, elite.shape[1])
