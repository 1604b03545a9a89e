"""What proposes the designs of a study: one small interface, behind which our engine, Optuna's samplers and a user's
own strategy stand.
"""

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
    """What a strategy knows when it begins: the uniform designs are measured by then, and told to it first."""

    space: SearchSpace
    combiner: Combiner
    """Prices assignments on every accelerator of ``space.grid``."""
    tables: Mapping[str, np.ndarray]
    """By network the sensitivities [L, C]: raw loss of each pair in each layer alone, inf where it is not allowed."""
    reference: np.ndarray
    """The corner that bounds the hypervolume, [d] in the order of ``space.objectives``."""
    scales: Mapping[str, Scale]
    """By network, from its metric's value to a raw loss, which adds up over layers, and back."""
    shares: Mapping[str, float]
    """By network the share of the samples that a cheaper first look takes; networks without one are left out."""
    seed: int
    workers: int
    """Processes that evaluate at a time; 0: of other machines, nobody knows how many."""


@dataclass(frozen=True)
class Result:
    """What came of a proposal."""

    proposal: Proposal
    quality: Mapping[str, Quality]
    """The deciding metric by network; empty where the candidate has none."""
    values: tuple[float, ...]
    """Of the objectives, in the space's order; empty where a network was given up on a part of its samples."""


class Strategy(Protocol):
    """Proposes what to measure next, and learns from what was measured.

    Everything that it does follows from the seed and from what it was told, in that order: a study that is resumed asks
    it the same questions again and takes the answers from its ledger.
    """

    def tell(self, results: Sequence[Result]) -> None:
        """Learn what came of proposals, the uniform designs first; of one that was asked for twice, twice."""

    def propose(self, size: int, pending: Sequence[Proposal]) -> Sequence[Proposal]:
        """Up to `size` proposals while those in `pending` are being measured.

        None at all while something is pending means: wait for it; while nothing is: the search is over.
        """

    def front(self) -> Designs | None:
        """All non-dominated designs of what was told, where the strategy keeps them; else None, and they are computed
        when they are needed.
        """


StrategyFactory = Callable[[Problem], Strategy]
