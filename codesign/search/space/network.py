"""`Network`: a task with the choices of formats that the space allows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from codesign.errors import InputError
from codesign.formats import Assignment, FormatPair
from codesign.models import Task
from codesign.quality.ranges import RangeRule
from codesign.search.space.ties import groups
from codesign.workload import Workload


@dataclass(frozen=True)
class Network:
    """A task with the format pairs that each of its layers may take."""

    task: Task
    workload: Workload
    pairs: tuple[FormatPair, ...]
    allowed: np.ndarray  # which pair a layer may take, bool [layers, pairs]; the same for all layers of a tie
    ties: tuple[tuple[int, ...], ...] = ()  # indices of layers that must take the same pair
    ranges: RangeRule = "mse"

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers, in the network's order."""
        return self.workload.layers

    @cached_property
    def groups(self) -> np.ndarray:
        """The group of each layer, int [layers]: layers of one group take the same pair."""
        return groups(len(self.layers), self.ties)

    @cached_property
    def kinds(self) -> dict[str, str]:
        """Layer -> conv, linear or attention."""
        return self.workload.layer_kinds()

    def assignment(self, choice: np.ndarray) -> Assignment:
        """The Assignment of a choice: pair index per layer, int [layers]."""
        pairs = {layer: self.pairs[c] for layer, c in zip(self.layers, choice, strict=True)}
        return Assignment.of_pairs(pairs, self.kinds)

    def uniform(self, pair: FormatPair) -> np.ndarray:
        """The choice of `pair` in every layer, int [layers]; raises InputError if a layer may not take it."""
        index = self.pairs.index(pair)
        if not self.allowed[:, index].all():
            raise InputError(f"{self.task.name}: {pair} is not allowed in every layer")
        return np.full(len(self.layers), index)
