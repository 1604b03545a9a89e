"""The engine: multi-objective Bayesian optimisation of formats and hardware, started from layer sensitivities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from codesign.search.engine.archive import Archive
from codesign.search.engine.combiner import Combiner, PricedPools
from codesign.search.engine.pareto import Coverage
from codesign.search.engine.points import Designs, Pool
from codesign.search.engine.proposals import (
    distinct,
    drawn_accelerators,
    hull_vertices,
    mutants,
    within_budgets,
)
from codesign.search.engine.scale import Scale, log_losses
from codesign.search.engine.surrogate import Surrogate

_KEPT = 3000  # most designs for which the acquisition function is computed
_ELITE = 400  # most assignments of the front that are combined with new ones
# three-point Gauss-Hermite quadrature of the posterior: (offset in standard deviations, weight in sixths)
_NODES = ((0.0, 4), (-(3**0.5), 1), (3**0.5, 1))
_EXPECTED, _OPTIMISTIC = 0, 1  # index of the node


class SearchedNetwork(Protocol):
    """What the engine needs to know of a network."""

    @property
    def layers(self) -> Sequence[str]:
        """Names of the L layers."""

    @property
    def allowed(self) -> np.ndarray:
        """Which pairs a layer may take, bool [L, C]."""

    @property
    def groups(self) -> np.ndarray:
        """Group of each layer, int [L]: layers of one group take the same pair."""


@dataclass(frozen=True)
class Proposal:
    """A candidate to measure."""

    accelerator: int  # index into the grid
    choices: dict[str, np.ndarray]  # network -> pair index per layer, int [L]
    # network -> value of its metric above which the front dominates all designs that it was proposed for
    useful_below: dict[str, float] = field(default_factory=dict)
    # network -> value of its metric on the subset of samples above which the other samples are skipped
    enough: dict[str, float] = field(default_factory=dict)


@dataclass
class _Known:
    """The observations of one network."""

    choices: list[np.ndarray] = field(default_factory=list)  # measured assignments, in the archive's order
    quality: dict[bytes, float] = field(default_factory=dict)  # assignment -> quality, hints included
    learned: list[np.ndarray] = field(default_factory=list)  # assignments that the surrogate is fitted to
    losses: list[float] = field(default_factory=list)  # their raw losses

    def add(self, choice: np.ndarray, quality: float, raw: float) -> bool:
        """Add an observation; False if the assignment is known already."""
        key = _content(choice)
        if key in self.quality:
            return False
        self.quality[key] = quality
        self.learned.append(choice)
        self.losses.append(raw)
        return True


class Engine:
    """Proposes batches of designs by expected hypervolume improvement; deterministic in its seed and observations.

    Call `tell` with the measurements, then `propose`.

    Args:
        networks: by name.
        combiner: prices assignments on all accelerators, and holds objectives and budgets.
        tables: network -> sensitivities [L, C], the raw loss of each pair in each layer alone; inf where not allowed.
        reference: reference point of the hypervolume [d].
        scales: network -> scale between its metric and raw losses.
        seed: of everything random.
        learn: whether the surrogate is fitted to measurements; otherwise it is the sum of sensitivities.
        log_losses: whether the hypervolume is computed on logarithms of raw losses, as it is on logarithms of costs.
            Otherwise on the metrics' own values, by which designs of large loss dominate the search.
    """

    def __init__(
        self,
        networks: Mapping[str, SearchedNetwork],
        combiner: Combiner,
        tables: Mapping[str, np.ndarray],
        reference: np.ndarray,
        scales: Mapping[str, Scale],
        *,
        seed: int = 0,
        learn: bool = True,
        log_losses: bool = True,
    ) -> None:
        self._networks = networks
        self._combiner = combiner
        self._surrogates = {name: Surrogate(table) for name, table in tables.items()}
        self._tables = tables
        self._reference = reference
        self._scales = scales
        self._log_losses = log_losses
        self._seed = seed
        self._learn = learn
        self._known = {name: _Known() for name in networks}
        self._failed: set[bytes] = set()
        self._rounds = 0
        self._archive = Archive(combiner)

    @property
    def front(self) -> Designs:
        """All non-dominated designs of the measured assignments, over all accelerators."""
        return self._archive.front

    def tell(self, choices: Mapping[str, Sequence[np.ndarray]], qualities: Mapping[str, Sequence[float]]) -> None:
        """Add measured assignments, int [L] each, with their deciding metric, by network; repeated ones are ignored."""
        fresh: dict[str, Pool] = {}
        for name, network in self._networks.items():
            known, new = self._known[name], []
            for choice, quality in zip(choices[name], qualities[name], strict=True):
                if known.add(choice, quality, self._scales[name].raw(quality)):
                    known.choices.append(choice)
                    new.append((choice, quality))
            rows = np.array([c for c, _ in new], dtype=np.int64).reshape(-1, len(network.layers))
            fresh[name] = Pool(rows, np.array([q for _, q in new]))
        self._archive.add(fresh)

    def hint(self, name: str, choice: np.ndarray, quality: float) -> None:
        """Add an estimated quality for the surrogate; the assignment enters no design and is not proposed again."""
        self._known[name].add(choice, quality, self._scales[name].raw(quality))

    def belief(self, name: str, choice: np.ndarray) -> tuple[float, float]:
        """The posterior of an assignment's log(raw loss): mean and standard deviation."""
        mean, spread = self._surrogates[name].log_loss(choice[None])
        return float(mean[0]), float(spread[0])

    def avoid(self, choices: Mapping[str, np.ndarray]) -> None:
        """Never propose this combination of assignments again: it cannot be measured."""
        self._failed.add(self._key(choices))

    def propose(self, size: int, pending: Sequence[Proposal] = ()) -> list[Proposal]:
        """Propose up to `size` designs: greedy batch maximisation of the expected hypervolume improvement (EHVI).

        Once measured, an assignment yields a design on every accelerator that can run it, so that its improvement is
        that of all these designs together. The expectation over the posterior is a three-point Gauss-Hermite
        quadrature, with all unmeasured losses at the same node, as if they were fully correlated; hypervolumes are
        Monte Carlo estimates (`Coverage`). Pending proposals count at their posterior median. Candidates come from
        convex hulls, integer programs and mutations (`proposals`). Fewer than `size` are returned only if no
        assignment is left to measure.

        Args:
            size: number of proposals.
            pending: proposals that are being measured.
        """
        rng = np.random.default_rng([self._seed, self._rounds])
        self._rounds += 1
        if self._learn:
            self._surrogates = {n: self._refitted(n) for n in self._networks}
        waiting = {n: [p.choices[n] for p in pending] for n in self._networks}
        accelerators = drawn_accelerators(self._combiner, rng)
        tables = {n: surrogate.table for n, surrogate in self._surrogates.items()}
        groups = {n: network.groups for n, network in self._networks.items()}
        bounded = within_budgets(self._combiner, tables, groups, accelerators, rng)
        pools = {n: self._pool(n, accelerators, waiting[n], bounded, rng) for n in self._networks}
        promising = self._promising(pools, accelerators)
        if len(promising) > _KEPT:
            promising = promising.take(np.sort(rng.choice(len(promising), _KEPT, replace=False)))
        if not len(promising):
            return []
        return self._choose(promising, pools, size, {self._key(p.choices) for p in pending}, rng)

    def _refitted(self, name: str) -> Surrogate:
        known, table = self._known[name], self._tables[name]
        choices = np.array(known.learned, dtype=np.int64).reshape(-1, len(table))
        return Surrogate(table).fitted(choices, np.array(known.losses))

    def _pool(
        self,
        name: str,
        accelerators: list[np.ndarray],
        waiting: list[np.ndarray],
        bounded: Mapping[str, np.ndarray],
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Candidate assignments [n, L], and their quality [nodes, n]: measured, or predicted at each node."""
        network, surrogate, known = self._networks[name], self._surrogates[name], self._known[name]
        front = np.unique(self.front.index[name])
        if len(front) > _ELITE:
            front = np.sort(rng.choice(front, _ELITE, replace=False))
        elite = np.array(known.choices, dtype=np.int64)[front].reshape(-1, len(network.layers))
        fresh = [
            hull_vertices(self._combiner, name, surrogate.table, accelerators, network.groups),
            mutants(self._combiner, elite, network.allowed, network.groups, rng),
            bounded[name],
            np.array(waiting, dtype=np.int64).reshape(-1, len(network.layers)),
        ]
        choices = distinct(np.concatenate([elite, *fresh]))
        mean, spread = surrogate.log_loss(choices)
        known_quality = np.array([known.quality.get(_content(c), np.nan) for c in choices])
        nodes = [[self._scales[name].from_raw(float(r)) for r in np.exp(mean + z * spread)] for z, _ in _NODES]
        return choices, np.where(np.isnan(known_quality), np.array(nodes), known_quality)

    def _promising(self, pools: Mapping[str, tuple[np.ndarray, np.ndarray]], accelerators: list[np.ndarray]) -> Designs:
        """Designs with an unmeasured assignment that are on a predicted front.

        First of the front at posterior medians; if these are few, also of the front at the optimistic node, then of
        the front of unmeasured assignments alone.
        """
        new = {
            n: np.array([_content(c) not in self._known[n].quality for c in choices], dtype=bool)
            for n, (choices, _) in pools.items()
        }
        every = {n: np.ones(len(rows), dtype=bool) for n, rows in new.items()}
        unknown = {n: rows if rows.any() else every[n] for n, rows in new.items()}
        priced = PricedPools(self._combiner, {n: choices for n, (choices, _) in pools.items()}, accelerators)
        found: list[Designs] = []
        for node, counts in ((_EXPECTED, every), (_OPTIMISTIC, every), (_EXPECTED, unknown)):
            front = priced.front({n: quality[node] for n, (_, quality) in pools.items()}, counts)
            fresh = np.any([new[n][picked] for n, picked in front.index.items()], axis=0)
            found.append(front.take(np.flatnonzero(fresh)))
            if sum(map(len, found)) >= _KEPT:
                break
        return Designs.concatenate(found, list(pools), len(self._combiner.objectives))

    def _choose(
        self,
        designs: Designs,
        pools: Mapping[str, tuple[np.ndarray, np.ndarray]],
        size: int,
        waiting: set[bytes],
        rng: np.random.Generator,
    ) -> list[Proposal]:
        """The combinations of assignments of greatest EHVI; combinations without improvement fill up the batch."""
        columns = np.stack(list(designs.index.values()), axis=1)
        combinations, group = np.unique(columns, axis=0, return_inverse=True)
        group = group.reshape(-1)
        keys = [
            self._key({n: pools[n][0][row] for n, row in zip(pools, numbers, strict=True)}) for numbers in combinations
        ]
        pending = np.array([k in waiting for k in keys])
        open_ = ~pending & np.array([k not in self._failed for k in keys])
        points = np.stack([self._scaled(self._at_node(designs, pools, i)) for i in range(len(_NODES))])
        front = self._scaled(self.front.objectives)
        ideal = np.minimum(points.min(axis=(0, 1)), front.min(axis=0, initial=np.inf))
        coverage = Coverage(ideal, self._scaled(self._reference[None])[0], seed=int(rng.integers(2**31)))
        coverage.add(front)
        coverage.add(points[0][pending[group]])
        rows = np.flatnonzero(open_[group])
        weights = np.array([w for _, w in _NODES])
        chosen = coverage.choose(points[:, rows], size, group[rows], weights) if len(rows) else []
        rest = rng.permutation(np.setdiff1d(np.flatnonzero(open_), chosen))
        chosen += rest[: size - len(chosen)].tolist()
        gain = -points[0].sum(axis=1)
        found = []
        for combination in chosen:
            rows = np.flatnonzero(group == combination)
            best = rows[gain[rows].argmax()]
            choices = {n: pools[n][0][designs.index[n][best]] for n in pools}
            new = [n for n, choice in choices.items() if _content(choice) not in self._known[n].quality]
            useful = {n: worst for n in new if (worst := self._useful_below(n, designs.take(rows))) is not None}
            found.append(Proposal(int(designs.accelerator[best]), choices, useful))
        return found

    def _useful_below(self, name: str, designs: Designs) -> float | None:
        """The quality above which the front dominates all of these designs; None if it is not an objective."""
        objectives = self._combiner.objectives
        place = next((i for i, o in enumerate(objectives) if o.is_quality and o.task == name), None)
        if place is None:
            return None
        others = np.arange(len(objectives)) != place
        front, limits = self.front.objectives, []
        for point in designs.objectives[:, others]:
            beaten_by = front[(front[:, others] <= point).all(axis=1), place]
            limits.append(beaten_by.min(initial=np.inf))
        return float(max(limits))

    def _at_node(self, designs: Designs, pools: Mapping[str, tuple[np.ndarray, np.ndarray]], node: int) -> np.ndarray:
        """Objectives [n, d] of the designs, with every unmeasured loss at this quadrature node."""
        values = designs.objectives.copy()
        for k, objective in enumerate(self._combiner.objectives):
            if objective.is_quality:
                assert objective.task is not None
                values[:, k] = pools[objective.task][1][node][designs.index[objective.task]]
        return values

    def _scaled(self, points: np.ndarray) -> np.ndarray:
        """Objectives [..., d] on the scale of the acquisition function: logarithms of costs and of losses."""
        scaled = np.array(points, dtype=np.float64)
        for k, objective in enumerate(self._combiner.objectives):
            if not objective.is_quality:
                scaled[..., k] = np.log(np.maximum(points[..., k], 1e-30))
            elif self._log_losses:
                assert objective.task is not None
                scaled[..., k] = log_losses(self._scales[objective.task], points[..., k])
        return scaled

    @staticmethod
    def _key(choices: Mapping[str, np.ndarray]) -> bytes:
        return b"|".join(_content(c) for c in choices.values())


def _content(choice: np.ndarray) -> bytes:
    return choice.astype(np.int16).tobytes()
