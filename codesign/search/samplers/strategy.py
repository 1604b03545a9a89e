"""`Strategy`: the interface of what proposes candidates: the engine, Optuna's samplers, or a user's own strategy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from codesign.quality import Quality
from codesign.search.engine.combiner import Combiner
from codesign.search.engine.engine import Proposal
from codesign.search.engine.points import Designs
from codesign.search.engine.scale import Scale
from codesign.search.space.resolve import SearchSpace


@dataclass(frozen=True)
class Problem:
    """What a strategy is created with. The uniform designs are measured by then, and the first that it is told."""

    space: SearchSpace
    combiner: Combiner
    """Prices assignments on every accelerator of ``space.grid``."""
    tables: Mapping[str, np.ndarray]
    """Network -> sensitivities [L, C]: raw loss of each pair in each layer alone, inf where it is not allowed."""
    reference: np.ndarray
    """Reference point of the hypervolume, [d] in the order of ``space.objectives``."""
    scales: Mapping[str, Scale]
    """Network -> conversion between its metric and a raw loss, which is additive over layers."""
    shares: Mapping[str, float]
    """Network -> share of the samples in the subset that can be evaluated first; networks without one are left out."""
    seed: int
    workers: int
    """Number of local workers; 0: only workers on other machines, of unknown number."""


@dataclass(frozen=True)
class Result:
    """The outcome of a proposal."""

    proposal: Proposal
    quality: Mapping[str, Quality]
    """Network -> deciding metric; empty if the candidate could not be measured."""
    values: tuple[float, ...]
    """Values of the objectives, in the space's order; () if a network was evaluated on a subset of its samples only."""


class Strategy(Protocol):
    """Proposes what to measure next, and learns from the results.

    It must be deterministic in the seed and the results that it is told, in their order: a resumed study repeats the
    same calls, with results from its ledger.
    """

    def tell(self, results: Sequence[Result]) -> None:
        """Learn the outcomes of proposals, the uniform designs first. A proposal made twice is told twice."""

    def propose(self, size: int, pending: Sequence[Proposal]) -> Sequence[Proposal]:
        """Propose up to `size` candidates, while those in `pending` are being measured.

        An empty sequence means: wait for the pending results; if nothing is pending, it ends the search.
        """

    def front(self) -> Designs | None:
        """All non-dominated designs of the results so far, if the strategy maintains them; otherwise None."""


StrategyFactory = Callable[[Problem], Strategy]
