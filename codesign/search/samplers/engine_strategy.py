"""Our engine as a strategy: it proposes by sensitivities and surrogate, and spares hopeless candidates most samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from codesign.search.engine.engine import Engine, Proposal
from codesign.search.engine.measured import Measured
from codesign.search.engine.points import Designs
from codesign.search.engine.racing import Racing
from codesign.search.samplers.strategy import Problem, Result


class EngineStrategy:
    """The default strategy.

    race: whether a candidate that is hopeless on a part of the samples is spared the others. learn: whether a surrogate
    is fitted to what was measured, or the sensitivities alone decide. log_losses: default: what the space says.
    """

    def __init__(
        self, problem: Problem, *, race: bool = True, learn: bool = True, log_losses: bool | None = None
    ) -> None:
        networks = problem.space.networks
        self._racing = Racing(problem.scales, problem.shares) if race else None
        self._measured = {name: Measured() for name in networks}
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
        for result in results:
            for name, quality in result.quality.items():
                self._measured[name].add(result.proposal.choices[name], quality)
            if not result.quality:
                self._engine.avoid(result.proposal.choices)
        known = self._measured.items()
        self._engine.tell({n: m.choices for n, m in known}, {n: [q.value for q in m.qualities] for n, m in known})
        if self._racing is not None:
            for name, measured in known:
                self._racing.learn(name, measured.qualities)
                for choice, quality in measured.given_up:
                    self._engine.hint(name, choice, self._racing.whole(name, quality.value))

    def propose(self, size: int, pending: Sequence[Proposal]) -> list[Proposal]:
        found = self._engine.propose(size, pending)
        if self._racing is None:
            return found
        return [replace(proposal, enough=self._racing.enough(self._engine, proposal)) for proposal in found]

    def front(self) -> Designs:
        return self._engine.front
