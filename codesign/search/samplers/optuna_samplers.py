"""Optuna's own samplers on the same space, for comparison with the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIIISampler, NSGAIISampler, RandomSampler, TPESampler

from codesign.errors import InputError, nearest
from codesign.search.space.resolve import SearchSpace
from codesign.search.space.ties import first

SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "nsga2": lambda seed: NSGAIISampler(seed=seed),
    "nsga3": lambda seed: NSGAIIISampler(seed=seed),
    "tpe": lambda seed: TPESampler(seed=seed, multivariate=True),
    "gp": lambda seed: GPSampler(seed=seed),
    "random": lambda seed: RandomSampler(seed=seed),
}


def make_sampler(name: str, seed: int) -> BaseSampler:
    """The sampler called `name`; raises InputError with the nearest name, or if a dependency is missing."""
    if name not in SAMPLERS:
        raise InputError(f"unknown sampler '{name}'{nearest(name, ['codesign', *SAMPLERS])}")
    try:
        return SAMPLERS[name](seed)
    except ImportError as error:
        raise InputError(f"sampler '{name}' needs a package that is missing: {error}") from None


class Parameters:
    """The space as one categorical parameter per hardware axis and per layer, of tied layers the first."""

    def __init__(self, space: SearchSpace, hardware: dict[str, BaseDistribution]) -> None:
        self._space = space
        self._hardware = hardware
        axes = [tuple(map(str, d.choices)) for d in hardware.values() if isinstance(d, CategoricalDistribution)]
        self._axes = dict(zip(hardware, axes, strict=True))

    def distributions(self) -> dict[str, BaseDistribution]:
        """Hardware axes, then ``task/layer`` with the pairs that the layer may take."""
        layers: dict[str, BaseDistribution] = {}
        for name, network in self._space.networks.items():
            for place in first(network.groups):
                layer, allowed = network.layers[place], network.allowed[place]
                pairs = tuple(str(p) for p, ok in zip(network.pairs, allowed, strict=True) if ok)
                layers[f"{name}/{layer}"] = CategoricalDistribution(pairs)
        return self._hardware | layers

    def named(self, hardware: dict[str, str], choices: Mapping[str, np.ndarray]) -> dict[str, str]:
        """The parameters of a design, as a trial that is enqueued with them."""
        layers = {
            f"{name}/{network.layers[place]}": str(network.pairs[choices[name][place]])
            for name, network in self._space.networks.items()
            for place in first(network.groups)
        }
        return hardware | layers

    def accelerator(self, trial: optuna.Trial) -> int:
        """Index in the grid, whose axes are these, of the accelerator that the trial's hardware parameters name."""
        wanted = [values.index(str(trial.params[axis])) for axis, values in self._axes.items()]
        return int(np.ravel_multi_index(wanted, [len(values) for values in self._axes.values()]))

    def choices(self, trial: optuna.Trial, support: np.ndarray) -> dict[str, np.ndarray]:
        """Pair index per layer; a pair that the trial's unit lacks becomes the unit's first allowed one."""
        found = {}
        for name, network in self._space.networks.items():
            index = {str(p): i for i, p in enumerate(network.pairs)}
            named = [network.layers[place] for place in first(network.groups)]
            row = np.array([index[trial.params[f"{name}/{layer}"]] for layer in named])[network.groups]
            usable = network.allowed & support
            some = usable.argmax(axis=1)
            found[name] = np.where(usable[np.arange(len(row)), row], row, some)
        return found
