"""`Network`: a task with the choices of formats that the space allows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from codesign.formats import Assignment, FormatPair
from codesign.models import Task
from codesign.search.space.targets import NO_RULES, TargetRules
from codesign.search.space.ties import groups
from codesign.terms import DEFAULT_RULE, RangeRule
from codesign.workload import Workload


@dataclass(frozen=True)
class Network:
    """A task with the format pairs that each of its layers may take."""

    task: Task
    workload: Workload
    pairs: tuple[FormatPair, ...]
    allowed: np.ndarray  # which pair a layer may take, bool [layers, pairs]; the same for all layers of a tie
    ties: tuple[tuple[int, ...], ...] = ()  # indices of layers that must take the same pair
    ranges: RangeRule = DEFAULT_RULE
    rules: TargetRules = NO_RULES  # of its target

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

    @cached_property
    def free(self) -> np.ndarray:
        """Which layers may take several pairs, bool [layers]; all of them, where none may."""
        several = self.allowed.sum(axis=1) > 1
        return np.asarray(several if several.any() else ~several)

    def alike(self, pair: FormatPair) -> np.ndarray:
        """The choice of one pair in each layer, or of its formats by another method where a layer may not take its own;
        -1 where it may take neither. int [layers]"""
        column = self.pairs.index(pair)
        same = self.allowed & [other.formats == pair.formats for other in self.pairs]
        found = np.where(same.any(axis=1), same.argmax(axis=1), -1)
        return np.where(self.allowed[:, column], column, found)

    def uniform(self, pair: FormatPair) -> np.ndarray | None:
        """The choice of a pair in every free layer, as `alike`, int [layers]; None if a free layer may not take it."""
        found = self.alike(pair)
        if (found[self.free] < 0).any():
            return None
        return np.where(self.free, found, self.allowed.argmax(axis=1))
