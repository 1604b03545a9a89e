"""Optuna's samplers as strategies: one categorical parameter per layer and per hardware axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIIISampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from codesign.errors import EnvironmentProblem
from codesign.search.engine.engine import Proposal
from codesign.search.engine.points import Designs, Pool
from codesign.search.samplers.strategy import Problem, Result
from codesign.search.space.axes import hardware_choices, hardware_parameters
from codesign.search.space.resolve import SearchSpace
from codesign.search.space.ties import first

SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "nsga2": lambda seed: NSGAIISampler(seed=seed),
    "nsga3": lambda seed: NSGAIIISampler(seed=seed),
    "tpe": lambda seed: TPESampler(seed=seed, multivariate=True),
    "gp": lambda seed: GPSampler(seed=seed),
    "random": lambda seed: RandomSampler(seed=seed),
}


class OptunaStrategy:
    """A strategy that asks an Optuna sampler, in an in-memory study of its own.

    With one worker each proposal is made after the one before is measured; with several, proposals come in batches.

    Args:
        problem: the problem.
        sampler: a function from a seed to a sampler.
    Raises:
        EnvironmentProblem: the sampler needs a package that is not installed.
    """

    def __init__(self, problem: Problem, sampler: Callable[[int], BaseSampler]) -> None:
        try:
            made = sampler(problem.seed)
        except ImportError as error:
            raise EnvironmentProblem(f"this sampler needs a package that is missing: {error}") from None
        self._problem = problem
        self._parameters = Parameters(problem.space)
        self.study = optuna.create_study(sampler=made, directions=["minimize"] * len(problem.space.objectives))
        self._asked: dict[int, optuna.Trial] = {}  # id() of a proposal -> its trial

    def tell(self, results: Sequence[Result]) -> None:
        for result in results:
            trial = self._asked.pop(id(result.proposal), None) or self._enqueued(result.proposal)
            if result.values:
                self.study.tell(trial, result.values)
            else:
                self.study.tell(trial, state=TrialState.PRUNED if result.quality else TrialState.FAIL)

    def propose(self, size: int, pending: Sequence[Proposal]) -> list[Proposal]:
        if pending:
            return []
        return [self._proposal() for _ in range(1 if self._problem.workers == 1 else size)]

    def front(self) -> Designs | None:
        return None

    def _proposal(self) -> Proposal:
        trial = self._ask()
        accelerator = self._parameters.accelerator(trial)
        support = self._problem.combiner.support_of(accelerator)
        proposal = Proposal(accelerator, self._parameters.choices(trial, support))
        self._constrain(trial, proposal)
        self._asked[id(proposal)] = trial
        return proposal

    def _enqueued(self, proposal: Proposal) -> optuna.Trial:
        """A trial of a design that the sampler did not propose; it belongs to the sampler's first generation."""
        self.study.enqueue_trial(self._parameters.named(proposal))
        trial = self._ask()
        self._constrain(trial, proposal)
        return trial

    def _ask(self) -> optuna.Trial:
        trial = self.study.ask(self._parameters.distributions)
        # Optuna samples lazily, and never for an enqueued trial, which would then belong to no generation
        _ = trial.relative_params
        return trial

    def _constrain(self, trial: optuna.Trial, proposal: Proposal) -> None:
        """Set one constraint per budget of a cost: the relative excess of the design, negative if within budget."""
        combiner = self._problem.combiner
        budgets = [(objective, limit) for objective, limit in combiner.budgets if not objective.is_quality]
        pools = {n: Pool(choice[None], np.array([np.nan])) for n, choice in proposal.choices.items()}
        values = combiner.values(np.array([proposal.accelerator]), pools, [objective for objective, _ in budgets])[0]
        for (objective, limit), value in zip(budgets, values, strict=True):
            trial.set_constraint(objective.name, min(float(value / limit - 1), 1e30))


OPTUNA_STRATEGIES = {name: partial(OptunaStrategy, sampler=sampler) for name, sampler in SAMPLERS.items()}


class Parameters:
    """The space as categorical parameters: the hardware axes, then ``task/layer`` for the first layer of each group."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._axes = hardware_choices(space)
        self.distributions: dict[str, BaseDistribution] = {
            axis: CategoricalDistribution(tuple(values)) for axis, values in self._axes.items()
        }
        for name, network in space.networks.items():
            for place in first(network.groups):
                layer, allowed = network.layers[place], network.allowed[place]
                pairs = tuple(str(p) for p, ok in zip(network.pairs, allowed, strict=True) if ok)
                self.distributions[f"{name}/{layer}"] = CategoricalDistribution(pairs)

    def named(self, proposal: Proposal) -> dict[str, str]:
        """The parameters of a design, for `enqueue_trial`."""
        layers = {
            f"{name}/{network.layers[place]}": str(network.pairs[proposal.choices[name][place]])
            for name, network in self._space.networks.items()
            for place in first(network.groups)
        }
        return hardware_parameters(self._space, proposal.accelerator) | layers

    def accelerator(self, trial: optuna.Trial) -> int:
        """The index in the grid of the accelerator with the trial's hardware parameters."""
        wanted = [list(values).index(str(trial.params[axis])) for axis, values in self._axes.items()]
        return int(np.ravel_multi_index(wanted, [len(values) for values in self._axes.values()]))

    def choices(self, trial: optuna.Trial, support: np.ndarray) -> dict[str, np.ndarray]:
        """Network -> pair index per layer, int [L]; a pair that the unit lacks is replaced by its first allowed one."""
        found = {}
        for name, network in self._space.networks.items():
            index = {str(p): i for i, p in enumerate(network.pairs)}
            named = [network.layers[place] for place in first(network.groups)]
            row = np.array([index[trial.params[f"{name}/{layer}"]] for layer in named])[network.groups]
            usable = network.allowed & support
            some = usable.argmax(axis=1)
            found[name] = np.where(usable[np.arange(len(row)), row], row, some)
        return found
