"""Layers with their choices and costs, as `CodesignSampler` is told them and as the trials of a study offer them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial

from codesign.errors import InputError, nearest

PROPOSED = "codesign:proposed"  # system attribute of a trial: the choice of every layer
LEAST = 1e-12  # smallest loss, as its logarithm is taken


@dataclass(frozen=True)
class LayerChoices:
    """Layers and choices with their costs and sensitivities."""

    names: tuple[str, ...]  # of L layers
    choices: tuple[str, ...]  # C names
    allowed: np.ndarray  # bool [L, C]
    costs: dict[str, np.ndarray]  # objective -> [L, C], inf where not allowed
    sensitivities: np.ndarray | None  # [L, C], inf where not allowed

    @classmethod
    def of(
        cls,
        costs: Mapping[str, Mapping[str, Mapping[str, float]]],
        sensitivities: Mapping[str, Mapping[str, float]] | None,
    ) -> LayerChoices:
        if not isinstance(costs, Mapping) or not all(costs.values()) or not costs:
            raise InputError("costs: give objective -> layer -> choice -> cost, for each that is not measured")
        first = next(iter(costs.values()))
        names = tuple(first)
        choices = tuple(dict.fromkeys(str(c) for row in first.values() for c in row))
        tables = {name: _table(source, names, choices, f"costs: {name}") for name, source in costs.items()}
        sensitive = _table(sensitivities, names, choices, "sensitivities") if sensitivities else None
        allowed = np.isfinite(next(iter(tables.values())))
        for table in [*tables.values(), *([] if sensitive is None else [sensitive])]:
            if (np.isfinite(table) != allowed).any():
                layer = names[int(np.argwhere(np.isfinite(table) != allowed)[0][0])]
                raise InputError(f"{layer}: costs and sensitivities must name the same choices")
        return cls(names, choices, allowed, tables, None if sensitive is None else np.maximum(sensitive, LEAST))

    @property
    def place(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}

    @property
    def uniform(self) -> np.ndarray:
        """Uniform choices, int [C', L]; a layer that may not take a choice takes its most expensive one."""
        dearest = np.where(self.allowed, next(iter(self.costs.values())), -np.inf).argmax(axis=1)
        rows = [np.where(self.allowed[:, c], c, dearest) for c in range(len(self.choices))]
        return np.unique(np.array(rows), axis=0)

    def taken(self, trial: FrozenTrial) -> np.ndarray | None:
        """The choice of every layer in this trial, int [L]: as suggested, else as proposed; None if it has neither."""
        proposed = trial.system_attrs.get(PROPOSED)
        if proposed is None and not all(name in trial.params for name in self.names):
            return None
        row = np.array(json.loads(proposed)) if proposed else np.zeros(len(self.names), dtype=np.int64)
        for name, value in trial.params.items():
            if name in self.place and str(value) in self.choices:
                row[self.place[name]] = self.choices.index(str(value))
        return row

    def proposed(self, trial: FrozenTrial) -> np.ndarray | None:
        """The choice of every layer that was proposed for this trial, int [L]; None if none was."""
        written = trial.system_attrs.get(PROPOSED)
        return np.array(json.loads(written)) if written else None

    def offered(self, trials: Sequence[FrozenTrial]) -> LayerChoices:
        """These layers without the choices that no trial offers; a layer that no trial suggests keeps all of them."""
        seen = np.zeros_like(self.allowed)
        for trial in trials:
            for name, distribution in trial.distributions.items():
                if name in self.place and isinstance(distribution, CategoricalDistribution):
                    names = {str(choice) for choice in distribution.choices}
                    seen[self.place[name]] |= [choice in names for choice in self.choices]
        seen[~(seen & self.allowed).any(axis=1)] = True
        allowed = self.allowed & seen
        tables = {name: np.where(allowed, table, np.inf) for name, table in self.costs.items()}
        sensitive = None if self.sensitivities is None else np.where(allowed, self.sensitivities, np.inf)
        return replace(self, allowed=allowed, costs=tables, sensitivities=sensitive)

    def losses(self, uniform: Mapping[bytes, float]) -> np.ndarray:
        """Expected loss of each choice in each layer alone [L, C]; inf where not allowed.

        Without sensitivities the loss of a uniform trial is divided equally among the layers.
        """
        if self.sensitivities is not None:
            return self.sensitivities
        table = np.full(self.allowed.shape, np.nan)
        for choice in self.uniform:
            value = uniform.get(choice.tobytes())
            if value is not None:
                table[np.arange(len(choice)), choice] = value / len(choice)
        worst = np.nanmax(table) if np.isfinite(table).any() else 1.0
        return np.where(self.allowed, np.nan_to_num(table, nan=worst), np.inf)


def _table(
    source: Mapping[str, Mapping[str, float]], names: tuple[str, ...], choices: tuple[str, ...], what: str
) -> np.ndarray:
    table = np.full((len(names), len(choices)), np.inf)
    for layer, row in source.items():
        if layer not in names:
            raise InputError(f"{what}: layer '{layer}' has no cost{nearest(layer, names)}")
        for choice, value in row.items():
            if str(choice) not in choices:
                raise InputError(f"{what}: {layer}: unknown choice '{choice}'{nearest(str(choice), choices)}")
            if not np.isfinite(value) or value < 0:
                raise InputError(f"{what}: {layer}: {choice}: {value} is not a finite number of at least 0")
            table[names.index(layer), choices.index(str(choice))] = value
    return table
