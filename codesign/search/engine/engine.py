"""The engine: which designs to measure next, from sensitivities and from what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from codesign.search.engine.archive import Archive
from codesign.search.engine.combiner import Combiner, Priced
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

_KEPT = 3000  # predicted designs that are weighed against each other
_ELITE = 400  # assignments of the front that are combined with new ones
_EXPECTED, _HOPED = 0, 1  # nodes, of those here:
_NODES = ((0.0, 4), (-(3**0.5), 1), (3**0.5, 1))  # Gauss-Hermite: standard deviations, and sixths of the weight


class Searched(Protocol):
    """A network as the engine sees it: layers [L], the pairs that each may take bool [L, C], the number of the group
    that takes the same pair as it, int [L].
    """

    @property
    def layers(self) -> Sequence[str]: ...

    @property
    def allowed(self) -> np.ndarray: ...

    @property
    def groups(self) -> np.ndarray: ...


@dataclass(frozen=True)
class Proposal:
    """An accelerator and a choice of pairs, int [L], for every network.

    useful_below: value of a network's metric beyond which none of the designs it was proposed for is on the front.
    enough: value of that metric on a part of the samples beyond which the others need not be run.
    """

    accelerator: int
    choices: dict[str, np.ndarray]
    useful_below: dict[str, float] = field(default_factory=dict)
    enough: dict[str, float] = field(default_factory=dict)


@dataclass
class _Known:
    """What was told of one network: assignments of which designs are made [n, L], and quality by content;
    assignments and raw losses that the surrogate learns from.
    """

    choices: list[np.ndarray] = field(default_factory=list)
    quality: dict[bytes, float] = field(default_factory=dict)
    learned: list[np.ndarray] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def add(self, choice: np.ndarray, quality: float, raw: float) -> bool:
        """Whether it is new."""
        key = _content(choice)
        if key in self.quality:
            return False
        self.quality[key] = quality
        self.learned.append(choice)
        self.losses.append(raw)
        return True


class Engine:
    """Proposes batches of designs; everything that it does follows from the seed and from what it was told.

    tables: of each network the sensitivities [L, C], raw loss of each pair in each layer alone, inf where not allowed.
    reference: the corner that bounds the hypervolume [d]. scales: of each network's metric. log_losses: whether a gain
    in quality counts by the logarithm of the raw loss, as one in a cost does, or by the metric's own value, which
    spends the search on the designs that lose most. Call `tell` with every measurement, then `propose`.
    """

    def __init__(
        self,
        networks: Mapping[str, Searched],
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
        """All non-dominated designs of what was told, over all accelerators."""
        return self._archive.front

    def tell(self, choices: Mapping[str, Sequence[np.ndarray]], qualities: Mapping[str, Sequence[float]]) -> None:
        """Add measured assignments and the deciding metric of each, by network; repeated ones count once."""
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
        """Learn what an assignment is expected to lose: no design is made of it, and it is not proposed again."""
        self._known[name].add(choice, quality, self._scales[name].raw(quality))

    def belief(self, name: str, choice: np.ndarray) -> tuple[float, float]:
        """Mean and standard deviation of the logarithm of the raw loss that is expected of an assignment."""
        mean, spread = self._surrogates[name].log_loss(choice[None])
        return float(mean[0]), float(spread[0])

    def avoid(self, choices: Mapping[str, np.ndarray]) -> None:
        """Never propose this combination again: it has no quality."""
        self._failed.add(self._key(choices))

    def propose(self, size: int, pending: Sequence[Proposal] = ()) -> list[Proposal]:
        """Up to `size` designs whose measurement is expected to enlarge the front most, after those in `pending`.

        A measured assignment comes with every accelerator that runs it: its gain is that of all its designs together,
        averaged over what its loss may turn out to be. Fewer than `size` only where no assignment is left to measure.
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
        """Assignments [n, L] worth a look, and their quality [nodes, n]: measured, or predicted at every node."""
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
        """Designs with something unmeasured: of the front that is expected; where these are few also of the front
        that is hoped for, and of the front of what was not measured at all.
        """
        new = {
            n: np.array([_content(c) not in self._known[n].quality for c in choices], dtype=bool)
            for n, (choices, _) in pools.items()
        }
        every = {n: np.ones(len(rows), dtype=bool) for n, rows in new.items()}
        unknown = {n: rows if rows.any() else every[n] for n, rows in new.items()}
        priced = Priced(self._combiner, {n: choices for n, (choices, _) in pools.items()}, accelerators)
        found: list[Designs] = []
        for node, counts in ((_EXPECTED, every), (_HOPED, every), (_EXPECTED, unknown)):
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
        """The combinations of assignments of most expected gain; those that add nothing fill up the batch."""
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
        """The quality beyond which the front dominates all of these designs; None where it is no objective."""
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
        """Objectives [n, d] of the designs if every unmeasured loss turns out to be that of a node."""
        values = designs.objectives.copy()
        for k, objective in enumerate(self._combiner.objectives):
            if objective.is_quality:
                assert objective.task is not None
                values[:, k] = pools[objective.task][1][node][designs.index[objective.task]]
        return values

    def _scaled(self, points: np.ndarray) -> np.ndarray:
        """Objectives [..., d] on the scale for choosing: logarithms of costs and losses, which span decades."""
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
