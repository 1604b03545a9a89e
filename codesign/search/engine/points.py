"""Assignments, designs and accelerators as parallel arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Pool:
    """Assignments of one network with their quality, measured or predicted."""

    choices: np.ndarray  # pair index per layer, int [n, L]
    quality: np.ndarray  # deciding metric, [n], minimised


@dataclass(frozen=True)
class Designs:
    """n designs as parallel arrays."""

    accelerator: np.ndarray  # index into the grid, int [n]
    index: dict[str, np.ndarray]  # network -> row of its pool, int [n]
    objectives: np.ndarray  # [n, d]

    def __len__(self) -> int:
        return len(self.accelerator)

    def take(self, rows: np.ndarray | Sequence[int]) -> Designs:
        """The designs of these rows."""
        return Designs(self.accelerator[rows], {t: i[rows] for t, i in self.index.items()}, self.objectives[rows])

    @classmethod
    def concatenate(cls, several: Sequence[Designs], tasks: Sequence[str], objectives: int) -> Designs:
        """All designs of `several`; if that is empty, no designs of these tasks and this number of objectives."""
        if not several:
            empty = np.zeros(0, dtype=np.int64)
            return cls(empty, dict.fromkeys(tasks, empty), np.zeros((0, objectives)))
        return cls(
            np.concatenate([d.accelerator for d in several]),
            {t: np.concatenate([d.index[t] for d in several]) for t in tasks},
            np.concatenate([d.objectives for d in several]),
        )


Refused = tuple[str, int, int]  # task, layer, pair


@dataclass(frozen=True)
class AcceleratorClass:
    """Accelerators that may run the same assignments."""

    members: np.ndarray  # indices into the grid, int [A]
    support: np.ndarray  # supported pairs, bool [C]
    refused: frozenset[Refused]  # layers and pairs that are excluded


@dataclass(frozen=True)
class PricedAssignments:
    """Assignments of one network with their costs on the A accelerators of a class."""

    rows: np.ndarray  # rows of the pool, int [n]
    quality: np.ndarray  # [n]
    costs: dict[str, np.ndarray]  # column -> [A, n]
    possible: np.ndarray  # bool [A, n]: they fit the memories and meet the network's own budgets

    def take(self, keep: np.ndarray) -> PricedAssignments:
        """The assignments of these rows."""
        costs = {f: v[:, keep] for f, v in self.costs.items()}
        return PricedAssignments(self.rows[keep], self.quality[keep], costs, self.possible[:, keep])

    def extended(self, other: PricedAssignments) -> PricedAssignments:
        """These assignments, then those of `other`, on the same accelerators."""
        costs = {f: np.concatenate([v, other.costs[f]], axis=1) for f, v in self.costs.items()}
        return PricedAssignments(
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.quality, other.quality]),
            costs,
            np.concatenate([self.possible, other.possible], axis=1),
        )
