"""Designs from parts: every accelerator with every assignment it supports, and the best of them.

Quality depends on the assignment only, cost on both, so a handful of assignments whose quality is
known gives 10^5 designs. They are compared exactly: nothing is sampled here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from codesign.search.engine.costs import Costs
from codesign.search.engine.pareto import nondominated
from codesign.search.engine.points import Alike, Designs, Offer, Pool, Refused
from codesign.search.space.cost_metrics import AREA
from codesign.search.space.objectives import Objective, column

_TILED = ("latency_s", "energy_j", "dram_bytes")  # infinite where the SRAM holds no tile of some layer


class Combiner:
    """Joins pools of assignments with the accelerators of a grid under objectives and budgets.

    unit: int [A], which compute unit an accelerator has.
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
        self.supports = support  # [sets, C]
        self.groups = [np.flatnonzero(inverse.reshape(-1) == g) for g in range(len(support))]
        self.unit = unit
        self._refused: dict[int, set[Refused]] = {}  # by unit
        self._always_fits = {t: table.always_fit() for t, table in self.tables.items()}

    def refuse(self, unit: int, refused: Iterable[Refused]) -> None:
        """Leave out every design that puts one of these pairs into one of these layers on this unit."""
        self._refused.setdefault(unit, set()).update(refused)

    def support_of(self, accelerator: int) -> np.ndarray:
        """bool [C]: the pairs that this accelerator's unit supports."""
        return np.asarray(next(iter(self.tables.values())).supported[accelerator])

    def bounds_sums(self) -> bool:
        """Whether a budget, or the room in DRAM, bounds a sum over layers."""
        return any(o.metric.additive for o, _ in self.budgets) or not all(self._always_fits.values())

    def bounds(self, accelerator: int) -> list[tuple[dict[str, np.ndarray], float]]:
        """What bounds sums over layers on this accelerator: (network -> cost [L, C], limit of their total)."""
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
        """Columns of `task` that some objective or budget is computed from, one of _TILED at least."""
        used = [*self.objectives, *(b for b, _ in self.budgets)]
        names = [field for o in used if o.task in (task, None) for field in o.metric.of if field != AREA]
        return list(dict.fromkeys(names if set(_TILED) & set(names) else [*names, _TILED[-1]]))

    def front(self, pools: Mapping[str, Pool], accelerators: Sequence[np.ndarray] | None = None) -> Designs:
        """All non-dominated designs; `accelerators` limits each group (default: all of them)."""
        priced = Priced(self, {task: pool.choices for task, pool in pools.items()}, accelerators)
        every = {task: np.ones(len(pool.choices), dtype=bool) for task, pool in pools.items()}
        return priced.front({task: pool.quality for task, pool in pools.items()}, every)

    def values(
        self, accelerators: np.ndarray, pools: Mapping[str, Pool], objectives: Sequence[Objective] | None = None
    ) -> np.ndarray:
        """Objectives [n, d] (default: the front's) of the designs (accelerators[i], row i of every pool)."""
        costs = {t: self._costs(t, accelerators, pools[t].choices, paired=True) for t in self.tables}
        quality = {t: pool.quality for t, pool in pools.items()}
        wanted = self.objectives if objectives is None else objectives
        columns = [column(o, self.area[accelerators], quality, costs) for o in wanted]
        return np.stack(columns, axis=1) if columns else np.zeros((len(accelerators), 0))

    def alike(self, accelerators: Sequence[np.ndarray] | None = None) -> Iterator[Alike]:
        """The accelerators (default: all) by what they may run."""
        for group, support in enumerate(self.supports):
            members = self.groups[group] if accelerators is None else accelerators[group]
            units = self.unit[members]
            yield Alike(members[~np.isin(units, list(self._refused))], support, frozenset())
            for unit, refused in self._refused.items():
                yield Alike(members[units == unit], support, frozenset(refused))

    def offer(self, task: str, chips: Alike, pool: Pool) -> Offer:
        """The assignments of `pool` that these accelerators can run and no other of them beats everywhere."""
        return self.judged(task, self.priced(task, chips, pool.choices), pool.quality)

    def priced(self, task: str, chips: Alike, choices: np.ndarray) -> Offer:
        """The assignments [n, L] that these accelerators can run; nothing is said of their quality yet."""
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
        return Offer(rows, np.full(len(rows), np.nan), costs, possible)

    def judged(self, task: str, offer: Offer, quality: np.ndarray) -> Offer:
        """What is left of an offer when the quality [n] of the pool's assignments is known."""
        offer = replace(offer, quality=quality[offer.rows])
        for objective, limit in self.budgets:
            if objective.task == task and objective.is_quality:
                offer = replace(offer, possible=offer.possible & (offer.quality <= limit))
        return self.best(task, offer)

    def best(self, task: str, offer: Offer) -> Offer:
        """What no other row of the offer beats in quality and on every accelerator.

        Of the network's own budgets only whether they are kept counts, so that it says nothing of what they bound.
        """
        counts = {field for o in self.objectives if o.task in (task, None) for field in o.metric.of}
        counts |= {field for o, _ in self.budgets if o.task is None for field in o.metric.of}
        seen = [c for f, c in offer.costs.items() if f in counts] or [np.zeros(offer.possible.shape)]
        columns = [offer.quality[:, None], *(np.where(offer.possible, c, np.inf).T for c in seen)]
        keep = nondominated(np.concatenate(columns, axis=1)) & offer.possible.any(axis=0)
        return offer.take(np.flatnonzero(keep))

    def joined(self, members: np.ndarray, offers: Mapping[str, Offer]) -> Designs:
        """Every member with one assignment of every offer, where the budgets allow it."""
        tasks = list(offers)
        mesh = np.indices((len(members), *(len(o.rows) for o in offers.values()))).reshape(1 + len(tasks), -1)
        possible = np.all([o.possible[mesh[0], mesh[1 + i]] for i, o in enumerate(offers.values())], axis=0)
        mesh = mesh[:, possible]
        picked = {t: mesh[1 + i] for i, t in enumerate(tasks)}
        costs = {t: {f: v[mesh[0], picked[t]] for f, v in offers[t].costs.items()} for t in tasks}
        quality = {t: offers[t].quality[picked[t]] for t in tasks}
        accelerator = members[mesh[0]]
        area = self.area[accelerator]
        feasible = np.ones(len(accelerator), dtype=bool)
        for objective, limit in self.budgets:
            feasible &= column(objective, area, quality, costs) <= limit
        values = np.stack([column(o, area, quality, costs) for o in self.objectives], axis=1)
        index = {t: offers[t].rows[picked[t]][feasible] for t in tasks}
        return Designs(accelerator[feasible], index, values[feasible])

    def _costs(
        self, task: str, members: np.ndarray, choices: np.ndarray, *, paired: bool = False
    ) -> dict[str, np.ndarray]:
        """field -> [len(members), len(choices)], or [n] where member i goes with choice i; infinite where DRAM does
        not hold the network."""
        totals = self.tables[task].totals(self.fields(task), choices, members, paired=paired)
        if self._always_fits[task]:
            return totals
        fits = self.tables[task].fits(choices, members, paired=paired)
        return {field: np.where(fits, values, np.inf) for field, values in totals.items()}


class Priced:
    """Assignments of every network [n, L] with their costs on some accelerators (default: all), for several fronts:
    of some of them, or with other qualities.
    """

    def __init__(
        self,
        combiner: Combiner,
        choices: Mapping[str, np.ndarray],
        accelerators: Sequence[np.ndarray] | None = None,
    ) -> None:
        self._combiner = combiner
        chips = [c for c in combiner.alike(accelerators) if len(c.members)]
        self._offers = [(c.members, {t: combiner.priced(t, c, rows) for t, rows in choices.items()}) for c in chips]

    def front(self, quality: Mapping[str, np.ndarray], counts: Mapping[str, np.ndarray]) -> Designs:
        """All non-dominated designs of the assignments that count, bool [n], with these qualities [n]."""
        combiner, found = self._combiner, []
        for members, offered in self._offers:
            some = {t: offer.take(np.flatnonzero(counts[t][offer.rows])) for t, offer in offered.items()}
            if all(len(offer.rows) for offer in some.values()):
                designs = combiner.joined(members, {t: combiner.judged(t, o, quality[t]) for t, o in some.items()})
                found.append(designs.take(np.flatnonzero(nondominated(designs.objectives))))
        every = Designs.concatenate(found, list(quality), len(combiner.objectives))
        return every.take(np.flatnonzero(nondominated(every.objectives)))
