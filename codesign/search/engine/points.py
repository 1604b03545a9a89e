"""Parallel arrays of assignments and designs, and what some accelerators have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Pool:
    """Assignments of one network with their quality, measured or predicted.

    choices: int [n, L] pair index per layer; quality: float [n], the deciding metric (minimised).
    """

    choices: np.ndarray
    quality: np.ndarray


@dataclass(frozen=True)
class Designs:
    """Parallel arrays of designs: accelerator index, pool index per task, objective values [n, d]."""

    accelerator: np.ndarray
    index: dict[str, np.ndarray]
    objectives: np.ndarray

    def __len__(self) -> int:
        return len(self.accelerator)

    def take(self, rows: np.ndarray | Sequence[int]) -> Designs:
        return Designs(self.accelerator[rows], {t: i[rows] for t, i in self.index.items()}, self.objectives[rows])

    @classmethod
    def concatenate(cls, several: Sequence[Designs], tasks: Sequence[str], objectives: int) -> Designs:
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
class Alike:
    """Accelerators that may run the same assignments: members [A], the pairs that they support [C], those refused."""

    members: np.ndarray
    support: np.ndarray
    refused: frozenset[Refused]


@dataclass(frozen=True)
class Offer:
    """Assignments of one network for some accelerators.

    rows: of the pool, [n]; quality [n]; costs: field -> [A, n]; possible: bool [A, n], within the memories and the
    network's own budgets.
    """

    rows: np.ndarray
    quality: np.ndarray
    costs: dict[str, np.ndarray]
    possible: np.ndarray

    def take(self, keep: np.ndarray) -> Offer:
        costs = {f: v[:, keep] for f, v in self.costs.items()}
        return Offer(self.rows[keep], self.quality[keep], costs, self.possible[:, keep])

    def and_(self, other: Offer) -> Offer:
        costs = {f: np.concatenate([v, other.costs[f]], axis=1) for f, v in self.costs.items()}
        return Offer(
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.quality, other.quality]),
            costs,
            np.concatenate([self.possible, other.possible], axis=1),
        )
