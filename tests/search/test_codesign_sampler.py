"""The engine in a user's own Optuna study."""

from __future__ import annotations

import pickle  # users keep samplers of Optuna with it; only its own bytes are read here
from collections.abc import Sequence

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from codesign.errors import InputError
from codesign.search import CodesignSampler
from codesign.search.engine.pareto import hypervolume

FORMATS = {"int8": 8.0, "int6": 6.0, "mxfp4": 4.25, "int4": 4.0}
_RNG = np.random.default_rng(0)
SIZES = {f"layer{i}": float(s) for i, s in enumerate(_RNG.lognormal(0, 1, 20))}
LOSSES = {n: {f: float(_RNG.lognormal(0, 0.5) * s * 4**-b) for f, b in FORMATS.items()} for n, s in SIZES.items()}
COSTS = {n: {f: s * b for f, b in FORMATS.items()} for n, s in SIZES.items()}


def objective(trial: optuna.Trial) -> tuple[float, float]:
    taken = {n: trial.suggest_categorical(n, list(FORMATS)) for n in SIZES}
    return sum(LOSSES[n][f] for n, f in taken.items()) ** 0.9, sum(COSTS[n][f] for n, f in taken.items())


def study_of(sampler: optuna.samplers.BaseSampler, directions: Sequence[str] = ("minimize",) * 2) -> optuna.Study:
    return optuna.create_study(directions=list(directions), sampler=sampler)


def volume(study: optuna.Study) -> float:
    points = np.array([t.values for t in study.trials if t.values])
    return hypervolume(
        np.column_stack([np.log10(points[:, 0]), points[:, 1]]), np.array([0.0, 8 * sum(SIZES.values())])
    )


def test_it_beats_random_choices_with_and_without_sensitivities() -> None:
    volumes = []
    for sampler in (
        CodesignSampler({"cost": COSTS}, sensitivities=LOSSES, seed=0, batch=4),
        CodesignSampler({"cost": COSTS}, seed=0, batch=4),
        optuna.samplers.RandomSampler(seed=0),
    ):
        study = study_of(sampler)
        study.optimize(objective, n_trials=40)
        volumes.append(volume(study))
    assert volumes[0] > volumes[1] > 1.2 * volumes[2]


def test_same_seed_same_trials() -> None:
    found = []
    for _ in range(2):
        study = study_of(CodesignSampler({"cost": COSTS}, seed=7, batch=2))
        study.optimize(objective, n_trials=12)
        found.append([t.params for t in study.trials])
    assert found[0] == found[1]
    assert len({tuple(p.values()) for p in found[0]}) == 12  # nothing is measured twice


def test_another_process_goes_on_with_what_was_measured() -> None:
    study = study_of(CodesignSampler({"cost": COSTS}, seed=0))
    study.optimize(objective, n_trials=10)
    before = {tuple(t.params.values()) for t in study.trials}
    study.sampler = CodesignSampler({"cost": COSTS}, seed=1)
    study.optimize(objective, n_trials=5)
    after = [tuple(t.params.values()) for t in study.trials[10:]]
    assert len(set(after)) == 5
    assert not before & set(after)


def test_define_by_run() -> None:
    """Layers that some trials lack, choices that some do not offer, parameters of other kinds, trials that fail."""

    def conditional(trial: optuna.Trial) -> tuple[float, float]:
        deep = trial.suggest_categorical("deep", [True, False])
        rate = trial.suggest_float("rate", 0.9, 1.1)
        taken = {}
        for name in SIZES if deep else list(SIZES)[:10]:
            offered = ["int6", "int4"] if name == "layer0" else list(FORMATS)
            taken[name] = trial.suggest_categorical(name, offered)
        if trial.number == 8:
            raise ValueError("out of memory")
        return rate * sum(LOSSES[n][f] for n, f in taken.items()), sum(COSTS[n][f] for n, f in taken.items())

    study = study_of(CodesignSampler({"cost": COSTS}, seed=0))
    study.optimize(conditional, n_trials=20, catch=ValueError)
    assert [t.state for t in study.trials].count(TrialState.COMPLETE) == 19
    assert {t.params["layer0"] for t in study.trials} <= {"int6", "int4"}


def test_an_objective_that_is_maximised_counts_from_the_float_network() -> None:
    def accuracy(trial: optuna.Trial) -> tuple[float, float]:
        loss, cost = objective(trial)
        return cost, 0.9 - loss

    sampler = CodesignSampler({"cost": COSTS}, measured=1, without_loss=0.9, seed=0)
    mirrored = study_of(sampler, ["minimize", "maximize"])
    mirrored.optimize(accuracy, n_trials=15)
    plain = study_of(CodesignSampler({"cost": COSTS}, seed=0))
    plain.optimize(objective, n_trials=15)
    assert [t.params for t in mirrored.trials][:6] == [t.params for t in plain.trials][:6]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")  # names are, in Optuna's words
def test_costs_belong_to_objectives_by_name_in_any_order() -> None:
    weights = {n: {f: 1.0 if f == "int8" else 2.0 for f in FORMATS} for n in SIZES}

    def three(trial: optuna.Trial) -> tuple[float, float, float]:
        loss, cost = objective(trial)
        return sum(weights[n][trial.params[n]] for n in SIZES), loss, cost

    found = []
    for costs in ({"quality": COSTS, "area_mm2": weights}, {"area_mm2": weights, "quality": COSTS}):
        study = study_of(CodesignSampler(costs, sensitivities=LOSSES, seed=0), ["minimize"] * 3)
        study.set_metric_names(["area_mm2", "loss", "quality"])
        study.optimize(three, n_trials=12)
        found.append({tuple(t.params.values()) for t in study.trials[4:]})
        assert all(t.values[2] == pytest.approx(sum(COSTS[n][f] for n, f in t.params.items())) for t in study.trials)
    assert len(found[0]) == len(found[1]) == 8


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")  # names are, in Optuna's words
def test_a_cost_of_an_objective_that_the_study_lacks_is_refused() -> None:
    study = study_of(CodesignSampler({"bit": COSTS}))
    study.set_metric_names(["loss", "bits"])
    with pytest.raises(InputError, match="costs: 'bit' is no objective of the study; did you mean 'bits'"):
        study.optimize(objective, n_trials=1)


@pytest.mark.parametrize("seed", range(4))
def test_threads_share_it(seed: int) -> None:
    study = study_of(CodesignSampler({"cost": COSTS}, seed=seed))
    study.optimize(objective, n_trials=16, n_jobs=4)
    assert len({tuple(t.params.values()) for t in study.trials}) == 16  # nothing is measured twice


def test_it_can_be_kept_with_pickle() -> None:
    """In the middle of a batch: the copy goes on as the sampler itself would have."""
    sampler = CodesignSampler({"cost": COSTS}, seed=0, batch=3)
    study = study_of(sampler)
    study.optimize(objective, n_trials=8)
    copied = pickle.loads(pickle.dumps(sampler))  # its own bytes, as a user's copy
    study.optimize(objective, n_trials=5)
    again = study_of(copied)
    again.add_trials(study.trials[:8])
    again.optimize(objective, n_trials=5)
    assert [t.params for t in again.trials] == [t.params for t in study.trials]


def test_mistakes_are_named() -> None:
    with pytest.raises(InputError, match="layer 'layer99' has no cost; did you mean"):
        CodesignSampler({"cost": COSTS}, sensitivities={"layer99": {"int8": 1.0}})
    with pytest.raises(InputError, match="unknown choice 'int5'; did you mean"):
        CodesignSampler({"cost": COSTS, "area": {"layer0": {"int5": 1.0}}})
    with pytest.raises(InputError, match="the study has 3 objectives"):
        study_of(CodesignSampler({"cost": COSTS}), ["minimize"] * 3).optimize(objective, n_trials=1)
    with pytest.raises(InputError, match="'int9' is not a choice whose cost is known; did you mean"):
        study_of(CodesignSampler({"cost": COSTS})).optimize(
            lambda t: t.suggest_categorical("layer0", ["int9", "int8"]), n_trials=1
        )


@pytest.mark.slow
def test_a_trial_that_offers_fewer_choices_than_are_known_does_not_stop_the_search() -> None:
    layers = [f"layer{i}" for i in range(8)]
    costs = {"bits": {name: {"int8": 8.0, "int6": 6.0, "int4": 4.0, "int3": 3.0} for name in layers}}
    errors = {"int8": 0.01, "int4": 0.3}

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        taken = {name: trial.suggest_categorical(name, ["int8", "int4"]) for name in layers}
        loss = sum((i + 1) * errors[choice] for i, choice in enumerate(taken.values()))
        return loss, sum(costs["bits"][name][choice] for name, choice in taken.items())

    study = optuna.create_study(directions=["minimize"] * 2, sampler=CodesignSampler(costs, seed=0))
    study.optimize(objective, n_trials=40)
    assert len({tuple(trial.params.values()) for trial in study.trials}) >= 35
