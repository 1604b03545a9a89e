"""Which assignments to measure next: hull vertices of every accelerator, and mutants of good ones."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from codesign.search.allocation import lagrangian, price_range
from codesign.search.combine import Combiner, Pool
from codesign.search.space import Network
from codesign.search.surrogate import Surrogate

_PRICES = 12
_ACCELERATORS = 6  # of each unit, drawn anew every round
_MUTANTS = 24


class Proposer:
    """Proposes assignments of each network for random accelerators of every unit.

    The cost of an assignment depends on the accelerator, so each has a hull of its own; a round looks
    at a few accelerators of every unit, and over the rounds at many.
    """

    def __init__(self, networks: Mapping[str, Network], combiner: Combiner) -> None:
        self._networks = networks
        self._combiner = combiner

    def accelerators(self, rng: np.random.Generator) -> list[np.ndarray]:
        """A few members of every group of accelerators with the same unit."""
        return [
            np.sort(rng.choice(members, size=min(_ACCELERATORS, len(members)), replace=False))
            for members in self._combiner.groups
        ]

    def pool(
        self,
        task: str,
        surrogate: Surrogate,
        accelerators: list[np.ndarray],
        elite: np.ndarray,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Distinct assignments [n, L] of one network: hull vertices, then mutants of `elite` [m, L]."""
        found: list[np.ndarray] = []
        for support, members in zip(self._combiner.supports, accelerators, strict=True):
            columns = np.flatnonzero(support)
            loss = surrogate.table[:, columns]
            if not np.isfinite(loss).any(axis=1).all():
                continue  # a layer that may take none of this unit's pairs
            found += [columns[picks] for picks in self._hulls(task, loss, members, columns)]
            usable = elite[support[elite].all(axis=1)] if len(elite) else elite
            found += self._mutants(usable, np.isfinite(surrogate.table) & support, rng)
        merged = np.concatenate([f.reshape(-1, surrogate.table.shape[0]) for f in found])
        return np.unique(merged.astype(np.int64), axis=0)

    def _hulls(self, task: str, loss: np.ndarray, members: np.ndarray, columns: np.ndarray) -> list[np.ndarray]:
        picks = [lagrangian(loss, np.zeros_like(loss), np.zeros(1))]
        for field in self._combiner.fields(task):
            costs = self._combiner.tables[task].additive(field, members)[..., columns]
            costs = costs[np.isfinite(costs[:, np.isfinite(loss)]).all(axis=1)]  # a layer without a tile is infinite
            if not len(costs):
                continue
            prices = price_range(loss, costs.mean(axis=0), _PRICES)
            picks.append(lagrangian(loss, costs, prices))
        return picks

    def _mutants(self, elite: np.ndarray, allowed: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        """Elite assignments with a few layers changed, or crossed with another elite one."""
        if not len(elite):
            return []
        out = elite[rng.integers(0, len(elite), _MUTANTS)].copy()
        other = elite[rng.integers(0, len(elite), _MUTANTS)]
        layers = elite.shape[1]
        for row, partner in zip(out, other, strict=True):
            if rng.random() < 0.5:
                swap = rng.random(layers) < 0.5
                row[swap] = partner[swap]
            for layer in rng.choice(layers, size=int(rng.integers(1, 4)), replace=False):
                row[layer] = rng.choice(np.flatnonzero(allowed[layer]))
        return [out]


def predicted(surrogate: Surrogate, network: Network, choices: np.ndarray, known: Mapping[bytes, float]) -> Pool:
    """`choices` with measured quality where `known` has it, else with the surrogate's (on the metric's scale)."""
    raw = surrogate.predict(choices)
    quality = np.array([network.task.from_raw(float(r)) for r in raw])
    for i, choice in enumerate(choices):
        measured = known.get(choice.tobytes())
        if measured is not None:
            quality[i] = measured
    return Pool(choices, quality)
