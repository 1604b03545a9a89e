"""The engine as a strategy, with racing: hopeless candidates are evaluated on a subset of the samples only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from codesign.quality import Quality
from codesign.search.engine.engine import Engine, Proposal
from codesign.search.engine.points import Designs
from codesign.search.engine.racing import Racing
from codesign.search.samplers.strategy import Problem, Result


class EngineStrategy:
    """The default strategy.

    Args:
        problem: the problem.
        race: whether to stop the evaluation of candidates that are hopeless on a subset of the samples.
        learn: whether to fit the surrogate to measurements; otherwise sensitivities alone decide.
        log_losses: see `Engine`; default: the space's `search.losses`.
    """

    def __init__(
        self, problem: Problem, *, race: bool = True, learn: bool = True, log_losses: bool | None = None
    ) -> None:
        networks = problem.space.networks
        self._racing = Racing(problem.scales, problem.shares) if race else None
        self._known: dict[str, set[bytes]] = {name: set() for name in networks}  # measured on all samples
        self._engine = Engine(
            networks,
            problem.combiner,
            problem.tables,
            problem.reference,
            problem.scales,
            seed=problem.seed,
            learn=learn,
            log_losses=problem.space.spec.search.losses == "log" if log_losses is None else log_losses,
        )

    def tell(self, results: Sequence[Result]) -> None:
        whole: dict[str, list[tuple[np.ndarray, Quality]]] = {name: [] for name in self._known}
        partial: list[tuple[str, np.ndarray, Quality]] = []
        for result in results:
            choices = result.proposal.choices
            if not result.quality:
                self._engine.avoid(choices)
            for name, quality in result.quality.items():
                if quality.of_part:
                    partial.append((name, choices[name], quality))
                elif (content := choices[name].tobytes()) not in self._known[name]:
                    self._known[name].add(content)
                    whole[name].append((choices[name], quality))
        self._engine.tell(
            {name: [choice for choice, _ in new] for name, new in whole.items()},
            {name: [quality.value for _, quality in new] for name, new in whole.items()},
        )
        if self._racing is None:
            return
        for name, new in whole.items():
            self._racing.learn(name, [quality for _, quality in new])
        for name, choice, quality in partial:
            self._engine.hint(name, choice, self._racing.whole(name, quality.value))

    def propose(self, size: int, pending: Sequence[Proposal]) -> list[Proposal]:
        found = self._engine.propose(size, pending)
        if self._racing is None:
            return found
        return [replace(proposal, enough=self._racing.enough(self._engine, proposal)) for proposal in found]

    def front(self) -> Designs:
        return self._engine.front
