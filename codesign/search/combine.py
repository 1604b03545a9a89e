"""Designs from parts: every accelerator with every assignment it supports, and the best of them.

Quality depends on the assignment only, cost on both, so a handful of assignments whose quality is
known gives 10^5 designs. They are compared exactly: nothing is sampled here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from codesign.hardware import CostTables
from codesign.search.objectives import Objective, column
from codesign.search.pareto import nondominated


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
    def concatenate(cls, parts: Sequence[Designs], tasks: Sequence[str], objectives: int) -> Designs:
        if not parts:
            empty = np.zeros(0, dtype=np.int64)
            return cls(empty, dict.fromkeys(tasks, empty), np.zeros((0, objectives)))
        return cls(
            np.concatenate([p.accelerator for p in parts]),
            {t: np.concatenate([p.index[t] for p in parts]) for t in tasks},
            np.concatenate([p.objectives for p in parts]),
        )


Refused = tuple[str, int, int]  # task, layer, pair
_TILED = ("latency_s", "energy_j", "dram_bytes")  # infinite where the SRAM holds no tile of some layer


class Combiner:
    """Joins pools of assignments with the accelerators of a grid under objectives and budgets.

    unit: int [A], which compute unit an accelerator has.
    """

    def __init__(
        self,
        tables: Mapping[str, CostTables],
        objectives: Sequence[Objective],
        budgets: Sequence[tuple[Objective, float]],
        unit: np.ndarray,
    ) -> None:
        self.tables = dict(tables)
        self.objectives = tuple(objectives)
        self.budgets = tuple(budgets)
        first = next(iter(self.tables.values()))
        self.area = first.area_mm2
        support, inverse = np.unique(first.supported, axis=0, return_inverse=True)
        self.supports = support  # [sets, C]
        self.groups = [np.flatnonzero(inverse.reshape(-1) == g) for g in range(len(support))]
        self.unit = unit
        self._refused: dict[int, set[Refused]] = {}  # by unit

    def refuse(self, unit: int, refused: Iterable[Refused]) -> None:
        """Leave out every design that puts one of these pairs into one of these layers on this unit."""
        self._refused.setdefault(unit, set()).update(refused)

    def support_of(self, accelerator: int) -> np.ndarray:
        """bool [C]: the pairs that this accelerator's unit supports."""
        return np.asarray(next(iter(self.tables.values())).supported[accelerator])

    def fields(self, task: str) -> list[str]:
        """Cost fields of `task` that some objective or budget looks at, one of _TILED at least."""
        used = [*self.objectives, *(b for b, _ in self.budgets)]
        names = [o.field for o in used if o.task in (task, None) and not o.is_quality and o.field != "area_mm2"]
        return list(dict.fromkeys(names if set(_TILED) & set(names) else [*names, _TILED[-1]]))

    def front(self, pools: Mapping[str, Pool], accelerators: Sequence[np.ndarray] | None = None) -> Designs:
        """All non-dominated designs; `accelerators` limits each group (default: all of them)."""
        parts = []
        for group, support in enumerate(self.supports):
            members = self.groups[group] if accelerators is None else accelerators[group]
            for alike, refused in self._alike(members):
                designs = self._of_group(alike, support, pools, refused)
                if designs is not None and len(designs):
                    parts.append(designs.take(np.flatnonzero(nondominated(designs.objectives))))
        merged = Designs.concatenate(parts, list(self.tables), len(self.objectives))
        return merged.take(np.flatnonzero(nondominated(merged.objectives))) if len(merged) else merged

    def values(self, accelerators: np.ndarray, pools: Mapping[str, Pool]) -> np.ndarray:
        """Objectives [n, d] of the designs (accelerators[i], row i of every pool)."""
        costs = {t: self._costs(t, accelerators, pools[t].choices, paired=True) for t in self.tables}
        quality = {t: pool.quality for t, pool in pools.items()}
        columns = [column(o, self.area[accelerators], quality, costs) for o in self.objectives]
        return np.stack(columns, axis=1)

    def _alike(self, members: np.ndarray) -> Iterator[tuple[np.ndarray, set[Refused]]]:
        """`members` by what was refused for their unit."""
        units = self.unit[members]
        yield members[~np.isin(units, list(self._refused))], set()
        for unit, refused in self._refused.items():
            yield members[units == unit], refused

    def _of_group(
        self, members: np.ndarray, support: np.ndarray, pools: Mapping[str, Pool], refused: Iterable[Refused]
    ) -> Designs | None:
        if not len(members):
            return None
        rows: dict[str, np.ndarray] = {}
        costs: dict[str, dict[str, np.ndarray]] = {}
        for task, pool in pools.items():
            fits = support[pool.choices].all(axis=1) if len(pool.choices) else np.zeros(0, bool)
            for owner, layer, pair in refused:
                if owner == task and len(fits):
                    fits &= pool.choices[:, layer] != pair
            usable = np.flatnonzero(fits)
            if not len(usable):
                return None
            cost = self._costs(task, members, pool.choices[usable])
            keep = _undominated_rows(pool.quality[usable], list(cost.values()))
            rows[task] = usable[keep]
            costs[task] = {f: v[:, keep] for f, v in cost.items()}
        tasks = list(rows)
        shape = (len(members), *(len(rows[t]) for t in tasks))
        mesh = np.indices(shape).reshape(len(shape), -1)
        picked = {t: mesh[1 + i] for i, t in enumerate(tasks)}
        gathered = {t: {f: v[mesh[0], picked[t]] for f, v in costs[t].items()} for t in tasks}
        quality = {t: pools[t].quality[rows[t][picked[t]]] for t in tasks}
        accelerator = members[mesh[0]]
        area = self.area[accelerator]
        feasible = np.all([np.isfinite(v) for cost in gathered.values() for v in cost.values()], axis=0)
        for objective, limit in self.budgets:
            feasible &= column(objective, area, quality, gathered) <= limit
        values = np.stack([column(o, area, quality, gathered) for o in self.objectives], axis=1)
        index = {t: rows[t][picked[t]][feasible] for t in tasks}
        return Designs(accelerator[feasible], index, values[feasible])

    def _costs(
        self, task: str, members: np.ndarray, choices: np.ndarray, *, paired: bool = False
    ) -> dict[str, np.ndarray]:
        """field -> [len(members), len(choices)], or [n] where member i goes with choice i; infinite where DRAM does
        not hold the network."""
        fits = self.tables[task].fits(choices, members, paired=paired)
        totals = self.tables[task].totals(self.fields(task), choices, members, paired=paired)
        return {field: np.where(fits, values, np.inf) for field, values in totals.items()}


def _undominated_rows(quality: np.ndarray, costs: Sequence[np.ndarray]) -> np.ndarray:
    """Indices of assignments that no other beats in quality and in every cost on every accelerator."""
    columns = np.concatenate([quality[:, None], *(c.T for c in costs)], axis=1)
    order = np.argsort(quality, kind="stable")
    kept: list[int] = []
    for row in order:
        if not kept or not (columns[kept] <= columns[row]).all(axis=1).any():
            kept.append(int(row))
    return np.sort(np.array(kept, dtype=np.int64))
