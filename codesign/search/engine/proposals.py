"""Candidate assignments for the acquisition function: convex hull vertices, optima under budgets, mutations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from codesign.search.engine.allocation import lagrangian, least_within, price_range
from codesign.search.engine.combiner import Combiner
from codesign.search.space.ties import first, summed

_PRICES = 12  # Lagrange multipliers per cost
_GROUPS = 80  # most groups of accelerators with the same pairs in a round
_ACCELERATORS = 426  # most accelerators in a round, drawn anew each time
_MUTANTS = 300  # per round
_SOLVED = 4  # accelerators in a round for which an integer program is solved


def drawn_accelerators(combiner: Combiner, rng: np.random.Generator) -> list[np.ndarray]:
    """A random sample of accelerators, for each group of `combiner.groups` int [members]; empty for some groups.

    Costs depend on the accelerator, so that each has its own convex hull; over the rounds all are sampled.
    """
    groups = combiner.groups
    looked = set(rng.permutation(len(groups))[:_GROUPS].tolist())
    each = max(1, _ACCELERATORS // len(looked))
    return [
        np.sort(rng.choice(members, size=min(each, len(members)), replace=False)) if g in looked else members[:0]
        for g, members in enumerate(groups)
    ]


def distinct(rows: np.ndarray) -> np.ndarray:
    """The distinct rows of pair indices [n, L] in lexicographic order, as by ``np.unique(rows, axis=0)``.

    Sorting them as big-endian byte strings is several times faster.
    """
    if not rows.size:
        return rows[:1]
    text = rows.astype(">u2").view(f"S{2 * rows.shape[1]}").reshape(-1)
    return rows[np.unique(text, return_index=True)[1]]


def hull_vertices(
    combiner: Combiner, task: str, loss: np.ndarray, accelerators: Sequence[np.ndarray], groups: np.ndarray
) -> np.ndarray:
    """Assignments [n, L] on the lower convex hulls of predicted loss and each cost (`lagrangian`).

    Args:
        combiner: prices the network.
        task: the network.
        loss: predicted loss of each pair in each layer [L, C]; inf where not allowed.
        accelerators: for each group of `combiner.groups`, the accelerators to consider.
        groups: int [L]; layers of one group take the same pair.
    """
    loss = summed(loss, groups)
    found = [np.zeros((0, len(loss)), dtype=np.int64)]
    for support, members in zip(combiner.supports, accelerators, strict=True):
        columns = np.flatnonzero(support)
        table = loss[:, columns]
        if not len(members) or not np.isfinite(table).any(axis=1).all():
            continue  # some layer may take none of this unit's pairs
        found.append(columns[table.argmin(axis=1)][None])
        for field in combiner.fields(task):
            costs = summed(combiner.tables[task].additive(field, members)[..., columns], groups)
            costs = costs[np.isfinite(costs[:, np.isfinite(table)]).all(axis=1)]  # infinite: no tile fits the SRAM
            if len(costs):
                picks = lagrangian(table, costs, price_range(table, costs.mean(axis=0), _PRICES))
                found.append(columns[picks].reshape(-1, len(loss)))
    return distinct(np.concatenate(found))[:, groups]


def within_budgets(
    combiner: Combiner,
    losses: Mapping[str, np.ndarray],
    groups: Mapping[str, np.ndarray],
    accelerators: Sequence[np.ndarray],
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Assignments [n, L] of each network that minimise loss + price x cost within all budgets (`least_within`).

    The optimum under budgets is in general not a vertex of a convex hull. Accelerators, costs and prices are drawn at
    random. Empty if nothing bounds a sum over layers.

    Args:
        combiner: prices the networks, and holds the budgets.
        losses: network -> predicted loss of each pair in each layer [L, C]; inf where not allowed.
        groups: network -> int [L]; layers of one group take the same pair.
        accelerators: for each group of `combiner.groups`, the accelerators to draw from.
        rng: source of randomness.
    """
    found: dict[str, list[np.ndarray]] = {name: [] for name in losses}
    members = np.concatenate(accelerators)
    for member in rng.choice(members, min(_SOLVED, len(members)), replace=False) if combiner.bounds_sums() else []:
        values = {n: summed(_priced(combiner, n, loss, int(member), rng), groups[n]) for n, loss in losses.items()}
        limits = [
            ({n: summed(cost, groups[n]) for n, cost in costs.items()}, limit)
            for costs, limit in combiner.bounds(int(member))
        ]
        for name, choice in (least_within(values, limits) or {}).items():
            found[name].append(choice[groups[name]])
    return {n: np.array(rows, dtype=np.int64).reshape(-1, len(losses[n])) for n, rows in found.items()}


def _priced(combiner: Combiner, task: str, loss: np.ndarray, member: int, rng: np.random.Generator) -> np.ndarray:
    """Loss plus a random price times one cost of this accelerator, [L, C], on a scale that networks share."""
    fields = combiner.fields(task)
    cost = combiner.tables[task].additive(fields[int(rng.integers(len(fields)))], np.array([member]))[0]
    usable = combiner.support_of(member) & np.isfinite(loss) & np.isfinite(cost)
    scale = np.exp(rng.normal()) / max(float(loss[usable].mean()) if usable.any() else 1.0, 1e-30)
    table, cost = np.where(usable, loss * scale, np.inf), np.where(usable, cost, 0.0)
    return np.asarray(table + rng.choice(price_range(table, cost, _PRICES)) * cost)


def mutants(
    combiner: Combiner, elite: np.ndarray, allowed: np.ndarray, groups: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Random variations [n, L] of elite assignments: uniform crossover of two, then one to three layers changed.

    Each takes only pairs that one unit supports. They explore what an additive prediction cannot see.

    Args:
        combiner: holds the sets of supported pairs.
        elite: int [m, L].
        allowed: which pairs a layer may take, bool [L, C].
        groups: int [L]; layers of one group take the same pair.
        rng: source of randomness.
    """
    if not len(elite):
        return elite
    elite, allowed = elite[:, first(groups)], allowed[first(groups)]
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
        for layer in rng.choice(len(row), size=min(int(rng.integers(1, 4)), len(row)), replace=False):
            row[layer] = rng.choice(np.flatnonzero(choices[layer]))
        out.append(row)
    return np.array(out, dtype=np.int64).reshape(-1, elite.shape[1])[:, groups]
