"""The engine as an Optuna sampler, for the user's own study, network and costs."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from codesign.errors import InputError, nearest
from codesign.search.engine.combiner import Combiner
from codesign.search.engine.costs import AdditiveCosts
from codesign.search.engine.engine import Engine, Proposal
from codesign.search.samplers.layers import LEAST, PROPOSED, LayerChoices
from codesign.search.space.objectives import Objective

_NETWORK = "network"
_MARGIN = 0.05  # of the reference point beyond the worst uniform design


class CodesignSampler(BaseSampler):  # type: ignore[misc]  # optuna is not followed
    """An Optuna sampler that chooses a format for every layer by expected hypervolume improvement.

    In the objective function each layer is one ``trial.suggest_categorical(layer, choices)``; a trial may suggest fewer
    layers, or offer fewer choices, than `costs` names. Other parameters are left to `independent_sampler`. One
    objective of the study is measured (the quality of the network); the others are sums over layers, given by `costs`.
    A study starts with uniform trials: each choice in every layer.

    Args:
        costs: objective -> layer -> choice -> cost. Objectives are named as in ``study.set_metric_names``; for a study
            without names, they are in the order of its objectives.
        sensitivities: layer -> choice -> increase of the loss if this layer alone takes the choice. By default they are
            estimated from the uniform trials.
        measured: index of the measured objective in a study without names; with names it is the one missing in `costs`.
        without_loss: value of the measured objective for the float network, above which losses are counted: 0 for a
            mean squared error or a divergence, the accuracy of the float network for an accuracy.
        seed: of all random choices; the same seed and results give the same proposals.
        independent_sampler: for parameters that are not layers; default: Optuna's RandomSampler.
        batch: proposals made at once; 1 learns from every trial, more is faster.
    Raises:
        InputError: a ValueError: costs and sensitivities name different layers or choices, or the study has another
            number of objectives or other names.
    """

    def __init__(
        self,
        costs: Mapping[str, Mapping[str, Mapping[str, float]]],
        *,
        sensitivities: Mapping[str, Mapping[str, float]] | None = None,
        measured: int = 0,
        without_loss: float = 0.0,
        seed: int | None = None,
        independent_sampler: BaseSampler | None = None,
        batch: int = 1,
    ) -> None:
        self._known = LayerChoices.of(costs, sensitivities)
        self._layers = self._known  # without the choices that no trial of the study offers
        self._measured_index = measured
        self._without_loss = without_loss
        self._seed = int(np.random.default_rng(seed).integers(2**31))
        self._independent_sampler = independent_sampler or RandomSampler(seed=self._seed)
        self._batch = batch
        self._engine: Engine | None = None
        self._told: set[int] = set()
        self._waiting: list[np.ndarray] = []
        self._current: dict[int, np.ndarray] = {}  # proposals of trials that run in this process
        self._proposing = threading.Lock()  # threads of one study share its sampler

    def __getstate__(self) -> dict[str, Any]:
        """The state without its lock, which cannot be pickled."""
        return {key: value for key, value in self.__dict__.items() if key != "_proposing"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._proposing = threading.Lock()

    def reseed_rng(self) -> None:
        self._independent_sampler.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}  # layers are proposed jointly but suggested one by one, so that each may offer fewer choices

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        layer = self._layers.place.get(param_name)
        if layer is None or not isinstance(param_distribution, CategoricalDistribution):
            return self._independent_sampler.sample_independent(study, trial, param_name, param_distribution)
        offered = {str(c): c for c in param_distribution.choices}
        unknown = set(offered) - set(self._layers.choices)
        if unknown:
            hint = nearest(min(unknown), self._layers.choices)
            raise InputError(f"{param_name}: '{min(unknown)}' is not a choice whose cost is known{hint}")
        wanted = self._layers.choices[int(self._proposal(study, trial)[layer])]
        if wanted in offered:
            return offered[wanted]
        table = self._layers.losses(self._uniform(study, study.get_trials(deepcopy=False)))[layer]
        return offered[min(offered, key=lambda name: (table[self._layers.choices.index(name)], name))]

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._objectives(study)
        self._independent_sampler.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._current.pop(trial.number, None)
        self._independent_sampler.after_trial(study, trial, state, values)

    def _objectives(self, study: Study) -> list[str]:
        """The study's objectives in order: names of costs, and "" for the measured one.

        Raises InputError unless there is one more than there are costs, with the names of `costs` among theirs.
        """
        costs, count = list(self._layers.costs), len(study.directions)
        if count != 1 + len(costs):
            raise InputError(
                f"the study has {count} objectives; with {len(costs)} costs and one that is measured it must have "
                f"{1 + len(costs)}"
            )
        named = study.metric_names  # queries the storage
        if named is None:
            costs.insert(self._measured_index, "")
            return costs
        for name in costs:
            if name not in named:
                raise InputError(f"costs: '{name}' is no objective of the study{nearest(name, named)}")
        return [name if name in costs else "" for name in named]

    def _proposal(self, study: Study, trial: FrozenTrial) -> np.ndarray:
        """The choice of every layer for this trial, int [L]; computed when its first layer is suggested."""
        if trial.number not in self._current:
            with self._proposing:
                choice = self._next(study, trial.number)
                study._storage.set_trial_system_attr(trial._trial_id, PROPOSED, json.dumps(choice.tolist()))
            self._current[trial.number] = choice
        return self._current[trial.number]

    def _next(self, study: Study, number: int) -> np.ndarray:
        trials = study.get_trials(deepcopy=False)
        layers = self._known.offered(trials)
        if (layers.allowed != self._layers.allowed).any():  # what was learned of other choices does not apply
            self._layers, self._engine, self._told, self._waiting = layers, None, set(), []
        tried = {choice.tobytes() for _, choice in self._chosen(trials, *TrialState)}
        tried |= {choice.tobytes() for trial in trials if (choice := layers.proposed(trial)) is not None}
        for choice in self._layers.uniform:
            if choice.tobytes() not in tried:
                return np.asarray(choice)
        if not self._waiting:
            self._waiting = self._proposed(study, trials)
        if self._waiting:
            return self._waiting.pop(0)
        rng = np.random.default_rng([self._seed, number])
        return np.array([rng.choice(np.flatnonzero(row)) for row in self._layers.allowed])

    def _proposed(self, study: Study, trials: Sequence[FrozenTrial]) -> list[np.ndarray]:
        """Tell the engine all new trials and let it propose a batch; [] before two uniform trials are complete."""
        uniform = self._uniform(study, trials)
        if self._engine is None:
            if len(uniform) < 2:
                return []
            self._engine = self._begun(uniform, self._objectives(study))
        loss, choices, values = self._loss_of(study), [], []
        for trial, taken in self._chosen(trials, TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED):
            if trial.number in self._told:
                continue
            self._told.add(trial.number)
            if trial.state != TrialState.COMPLETE:
                self._engine.avoid({_NETWORK: taken})
            else:
                choices.append(taken)
                values.append(loss(trial))
        self._engine.tell({_NETWORK: choices}, {_NETWORK: values})
        pending = [Proposal(0, {_NETWORK: choice}) for _, choice in self._chosen(trials, TrialState.RUNNING)]
        return [proposal.choices[_NETWORK] for proposal in self._engine.propose(self._batch, pending)]

    def _begun(self, uniform: dict[bytes, float], names: Sequence[str]) -> Engine:
        layers = self._layers
        fields = {name: f"cost{i}" for i, name in enumerate(layers.costs)}  # a user's name may be that of a metric
        objectives = [Objective(name or "loss", "", _NETWORK, fields.get(name, "quality")) for name in names]
        finite = {fields[name]: np.where(layers.allowed, table, 0.0) for name, table in layers.costs.items()}
        costs = AdditiveCosts(finite)  # what is not allowed has an infinite loss
        combiner = Combiner({_NETWORK: costs}, objectives, (), np.zeros(1, dtype=np.int64))
        sums = costs.totals(list(fields.values()), layers.uniform)
        totals = {name: sums[field] for name, field in fields.items()}
        corner = [float(totals[name].max()) if name else max(uniform.values()) for name in names]
        reference = np.array(corner) * (1 + _MARGIN) + LEAST
        network = _Network(layers.names, layers.allowed)
        tables, scales = {_NETWORK: layers.losses(uniform)}, {_NETWORK: _Raw()}
        return Engine({_NETWORK: network}, combiner, tables, reference, scales, seed=self._seed)

    def _uniform(self, study: Study, trials: Sequence[FrozenTrial]) -> dict[bytes, float]:
        """Losses of the complete uniform trials, by the bytes of their choice."""
        loss, wanted = self._loss_of(study), {choice.tobytes() for choice in self._layers.uniform}
        return {
            choice.tobytes(): loss(trial)
            for trial, choice in self._chosen(trials, TrialState.COMPLETE)
            if choice.tobytes() in wanted
        }

    def _chosen(self, trials: Sequence[FrozenTrial], *states: TrialState) -> list[tuple[FrozenTrial, np.ndarray]]:
        """Trials in these states, each with the choice of every layer, int [L].

        `trials` is read once for a proposal: a trial that ends meanwhile must be seen as running or as complete.
        """
        found = [trial for trial in trials if trial.state in states]
        return [(trial, choice) for trial in found if (choice := self._layers.taken(trial)) is not None]

    def _loss_of(self, study: Study) -> Callable[[FrozenTrial], float]:
        """A function that gives a trial's loss: how much worse its measured objective is than the float network's."""
        index = self._objectives(study).index("")
        sign = -1 if study.directions[index] == StudyDirection.MAXIMIZE else 1
        return lambda trial: max(float(sign * (trial.values[index] - self._without_loss)), LEAST)


@dataclass(frozen=True)
class _Raw:
    """The identity: losses are taken as additive."""

    def raw(self, value: float) -> float:
        return value

    def from_raw(self, raw: float) -> float:
        return raw


@dataclass(frozen=True)
class _Network:
    """The network as the engine needs it."""

    layers: Sequence[str]
    allowed: np.ndarray

    @property
    def groups(self) -> np.ndarray:
        """No layers are tied."""
        return np.arange(len(self.layers))
