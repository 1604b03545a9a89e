"""A task as the search sees it: its layers, the pairs that each may take, and which take the same."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from codesign.errors import InputError
from codesign.formats import Assignment, FormatPair
from codesign.models import Task
from codesign.quality.calibration import RangeRule
from codesign.search.space.ties import groups
from codesign.workload import Workload


@dataclass(frozen=True)
class Network:
    """One task as the search sees it: layers, kinds, which pairs each layer may take, and which take the same."""

    task: Task
    workload: Workload
    pairs: tuple[FormatPair, ...]
    allowed: np.ndarray  # bool [layers, pairs], the same for all layers of a tie
    ties: tuple[tuple[int, ...], ...] = ()  # places of layers
    ranges: RangeRule = "mse"

    @cached_property
    def layers(self) -> tuple[str, ...]:
        return self.workload.layers

    @cached_property
    def groups(self) -> np.ndarray:
        """int [layers]: layers of one number take the same pair."""
        return groups(len(self.layers), self.ties)

    @cached_property
    def kinds(self) -> dict[str, str]:
        return self.workload.layer_kinds()

    def assignment(self, choice: np.ndarray) -> Assignment:
        """Pair index per layer, int [layers] -> Assignment."""
        pairs = {layer: self.pairs[c] for layer, c in zip(self.layers, choice, strict=True)}
        return Assignment.of_pairs(pairs, self.kinds)

    def uniform(self, pair: FormatPair) -> np.ndarray:
        """`pair` for every layer that may take it; raises InputError where the rules forbid it."""
        index = self.pairs.index(pair)
        if not self.allowed[:, index].all():
            raise InputError(f"{self.task.name}: {pair} is not allowed in every layer")
        return np.full(len(self.layers), index)
