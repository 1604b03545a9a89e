"""Designs as combinations of accelerators and assignments, and their exact Pareto front.

Quality depends on the assignment alone, and cost on assignment and accelerator, so that a handful of measured
assignments yields 10^5 designs. The front is exact: no design is left out by sampling.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from codesign.search.engine.costs import Costs
from codesign.search.engine.pareto import nondominated
from codesign.search.engine.points import AcceleratorClass, Designs, Pool, PricedAssignments, Refused
from codesign.search.space.cost_metrics import AREA
from codesign.search.space.objectives import Objective, column

_TILED = ("latency_s", "energy_j", "dram_bytes")  # columns that are infinite if a layer has no tile that fits the SRAM


class Combiner:
    """Combines pools of assignments with the accelerators of a grid, under objectives and budgets.

    Args:
        tables: network -> its costs on every accelerator.
        objectives: the objectives, all minimised.
        budgets: objectives with the largest allowed value.
        unit: int [A], index of each accelerator's compute unit.
    """

    def __init__(
        self,
        tables: Mapping[str, Costs],
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
        self.supports = support  # bool [G, C]: distinct sets of supported pairs
        self.groups = [np.flatnonzero(inverse.reshape(-1) == g) for g in range(len(support))]
        self.unit = unit
        self._refused: dict[int, set[Refused]] = {}  # unit -> layers and pairs that it must not run
        self._always_fits = {t: table.always_fit() for t, table in self.tables.items()}

    def refuse(self, unit: int, refused: Iterable[Refused]) -> None:
        """Exclude every design in which this unit runs one of these layers in one of these pairs."""
        self._refused.setdefault(unit, set()).update(refused)

    def support_of(self, accelerator: int) -> np.ndarray:
        """The pairs that this accelerator's unit supports, bool [C]."""
        return np.asarray(next(iter(self.tables.values())).supported[accelerator])

    def bounds_sums(self) -> bool:
        """Whether a budget or the capacity of the DRAM bounds a sum over layers."""
        return any(o.metric.additive for o, _ in self.budgets) or not all(self._always_fits.values())

    def bounds(self, accelerator: int) -> list[tuple[dict[str, np.ndarray], float]]:
        """The bounds of sums over layers on this accelerator, as limits of `least_within`."""
        chip, found = np.array([accelerator]), []
        for objective, limit in self.budgets:
            if objective.metric.additive:
                (field,), tasks = objective.metric.of, [objective.task] if objective.task else list(self.tables)
                found.append(({t: self.tables[t].additive(field, chip)[0] for t in tasks}, limit))
        for task, table in self.tables.items():
            if not self._always_fits[task] and np.isfinite(room := float(table.room(chip)[0])):
                found.append(({task: table.additive("dram_capacity_bytes", chip)[0]}, max(room, 1.0)))
        return found

    def fields(self, task: str) -> list[str]:
        """The cost columns of `task` that objectives and budgets need, with at least one of _TILED."""
        used = [*self.objectives, *(b for b, _ in self.budgets)]
        names = [field for o in used if o.task in (task, None) for field in o.metric.of if field != AREA]
        return list(dict.fromkeys(names if set(_TILED) & set(names) else [*names, _TILED[-1]]))

    def front(self, pools: Mapping[str, Pool], accelerators: Sequence[np.ndarray] | None = None) -> Designs:
        """All non-dominated designs.

        Args:
            pools: the assignments of every network with their quality.
            accelerators: for each group of `groups`, the accelerators to consider (default: all).
        """
        priced = PricedPools(self, {task: pool.choices for task, pool in pools.items()}, accelerators)
        every = {task: np.ones(len(pool.choices), dtype=bool) for task, pool in pools.items()}
        return priced.front({task: pool.quality for task, pool in pools.items()}, every)

    def values(
        self, accelerators: np.ndarray, pools: Mapping[str, Pool], objectives: Sequence[Objective] | None = None
    ) -> np.ndarray:
        """Objectives [n, d] of n designs: accelerators[i] with row i of every pool.

        Args:
            accelerators: int [n].
            pools: n assignments of every network.
            objectives: which (default: the front's).
        """
        costs = {t: self._costs(t, accelerators, pools[t].choices, paired=True) for t in self.tables}
        quality = {t: pool.quality for t, pool in pools.items()}
        wanted = self.objectives if objectives is None else objectives
        columns = [column(o, self.area[accelerators], quality, costs) for o in wanted]
        return np.stack(columns, axis=1) if columns else np.zeros((len(accelerators), 0))

    def accelerator_classes(self, accelerators: Sequence[np.ndarray] | None = None) -> Iterator[AcceleratorClass]:
        """Partition the accelerators (default: all) by the assignments that they may run."""
        for group, support in enumerate(self.supports):
            members = self.groups[group] if accelerators is None else accelerators[group]
            units = self.unit[members]
            yield AcceleratorClass(members[~np.isin(units, list(self._refused))], support, frozenset())
            for unit, refused in self._refused.items():
                yield AcceleratorClass(members[units == unit], support, frozenset(refused))

    def priced_pool(self, task: str, chips: AcceleratorClass, pool: Pool) -> PricedAssignments:
        """`priced`, then `with_quality`, for one pool."""
        return self.with_quality(task, self.priced(task, chips, pool.choices), pool.quality)

    def priced(self, task: str, chips: AcceleratorClass, choices: np.ndarray) -> PricedAssignments:
        """The assignments among `choices` [n, L] that these accelerators can run, with costs and quality NaN."""
        fits = chips.support[choices].all(axis=1) if len(choices) else np.zeros(0, bool)
        for owner, layer, pair in chips.refused:
            if owner == task and len(fits):
                fits &= choices[:, layer] != pair
        rows = np.flatnonzero(fits)
        costs = self._costs(task, chips.members, choices[rows])
        possible, area = np.all([np.isfinite(v) for v in costs.values()], axis=0), self.area[chips.members][:, None]
        for objective, limit in self.budgets:
            if objective.task == task and not objective.is_quality:
                possible &= column(objective, area, {}, {task: costs}) <= limit
        return PricedAssignments(rows, np.full(len(rows), np.nan), costs, possible)

    def with_quality(self, task: str, priced: PricedAssignments, quality: np.ndarray) -> PricedAssignments:
        """Set the quality [n] of the pool's assignments, apply budgets on it, and prune."""
        priced = replace(priced, quality=quality[priced.rows])
        for objective, limit in self.budgets:
            if objective.task == task and objective.is_quality:
                priced = replace(priced, possible=priced.possible & (priced.quality <= limit))
        return self.pruned(task, priced)

    def pruned(self, task: str, priced: PricedAssignments) -> PricedAssignments:
        """The non-dominated assignments: no other has better quality and costs on all accelerators of the class.

        Cost columns that only the network's own budgets bound are not compared: `possible` accounts for them.
        """
        counts = {field for o in self.objectives if o.task in (task, None) for field in o.metric.of}
        counts |= {field for o, _ in self.budgets if o.task is None for field in o.metric.of}
        seen = [c for f, c in priced.costs.items() if f in counts] or [np.zeros(priced.possible.shape)]
        columns = [priced.quality[:, None], *(np.where(priced.possible, c, np.inf).T for c in seen)]
        keep = nondominated(np.concatenate(columns, axis=1)) & priced.possible.any(axis=0)
        return priced.take(np.flatnonzero(keep))

    def joined(self, members: np.ndarray, assignments: Mapping[str, PricedAssignments]) -> Designs:
        """All combinations of an accelerator with one assignment per network that meet the budgets."""
        tasks = list(assignments)
        mesh = np.indices((len(members), *(len(o.rows) for o in assignments.values()))).reshape(1 + len(tasks), -1)
        possible = np.all([o.possible[mesh[0], mesh[1 + i]] for i, o in enumerate(assignments.values())], axis=0)
        mesh = mesh[:, possible]
        picked = {t: mesh[1 + i] for i, t in enumerate(tasks)}
        costs = {t: {f: v[mesh[0], picked[t]] for f, v in assignments[t].costs.items()} for t in tasks}
        quality = {t: assignments[t].quality[picked[t]] for t in tasks}
        accelerator = members[mesh[0]]
        area = self.area[accelerator]
        feasible = np.ones(len(accelerator), dtype=bool)
        for objective, limit in self.budgets:
            feasible &= column(objective, area, quality, costs) <= limit
        values = np.stack([column(o, area, quality, costs) for o in self.objectives], axis=1)
        index = {t: assignments[t].rows[picked[t]][feasible] for t in tasks}
        return Designs(accelerator[feasible], index, values[feasible])

    def _costs(
        self, task: str, members: np.ndarray, choices: np.ndarray, *, paired: bool = False
    ) -> dict[str, np.ndarray]:
        """Cost columns [members, choices], or [n] if paired (member i, choice i); inf where the DRAM is too small."""
        totals = self.tables[task].totals(self.fields(task), choices, members, paired=paired)
        if self._always_fits[task]:
            return totals
        fits = self.tables[task].fits(choices, members, paired=paired)
        return {field: np.where(fits, values, np.inf) for field, values in totals.items()}


class PricedPools:
    """Assignments that are priced once, for several fronts of subsets of them or with different qualities.

    Args:
        combiner: what prices them.
        choices: network -> assignments [n, L].
        accelerators: for each group of `combiner.groups`, the accelerators to consider (default: all).
    """

    def __init__(
        self,
        combiner: Combiner,
        choices: Mapping[str, np.ndarray],
        accelerators: Sequence[np.ndarray] | None = None,
    ) -> None:
        self._combiner = combiner
        chips = [c for c in combiner.accelerator_classes(accelerators) if len(c.members)]
        self._classes = [(c.members, {t: combiner.priced(t, c, rows) for t, rows in choices.items()}) for c in chips]

    def front(self, quality: Mapping[str, np.ndarray], counts: Mapping[str, np.ndarray]) -> Designs:
        """All non-dominated designs.

        Args:
            quality: network -> quality of its assignments [n].
            counts: network -> which of them to use, bool [n].
        """
        combiner, found = self._combiner, []
        for members, assignments in self._classes:
            some = {t: priced.take(np.flatnonzero(counts[t][priced.rows])) for t, priced in assignments.items()}
            if all(len(priced.rows) for priced in some.values()):
                designs = combiner.joined(
                    members, {t: combiner.with_quality(t, o, quality[t]) for t, o in some.items()}
                )
                found.append(designs.take(np.flatnonzero(nondominated(designs.objectives))))
        every = Designs.concatenate(found, list(quality), len(combiner.objectives))
        return every.take(np.flatnonzero(nondominated(every.objectives)))
