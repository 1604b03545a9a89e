"""What the search asks of costs: the tables of a grid of accelerators, or any sums over layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np


class Costs(Protocol):
    """Costs of accelerators [A] times assignments of one network [L]; see `codesign.hardware.CostTables`."""

    @property
    def supported(self) -> np.ndarray:
        """bool [A, C]: the pairs that an accelerator runs."""

    @property
    def area_mm2(self) -> np.ndarray:
        """[A]."""

    def totals(
        self,
        fields: Sequence[str],
        choice: np.ndarray,
        accelerators: np.ndarray | None = None,
        *,
        paired: bool = False,
    ) -> dict[str, np.ndarray]:
        """Fields of choices int [S, L]: [A', S] each, or [S] where paired."""

    def additive(self, field: str, accelerators: np.ndarray | None = None) -> np.ndarray:
        """[A', L, C]."""

    def fits(self, choice: np.ndarray, accelerators: np.ndarray | None = None, *, paired: bool = False) -> np.ndarray:
        """bool as `totals`: whether the memories hold the network."""

    def always_fit(self) -> bool:
        """Whether they hold it whatever the formats."""

    def room(self, accelerators: np.ndarray) -> np.ndarray:
        """Bytes that weights and caches may surely take in the DRAM, [A'], inf where nothing bounds them."""


class AdditiveCosts:
    """Sums over layers without any chip: `tables` field -> cost of choice c in layer l, [L, C].

    A field that is not given costs nothing.
    """

    def __init__(self, tables: Mapping[str, np.ndarray]) -> None:
        self._tables = {field: np.asarray(table, dtype=float) for field, table in tables.items()}
        self._shape = next(iter(self._tables.values())).shape
        self.supported = np.ones((1, self._shape[1]), dtype=bool)
        self.area_mm2 = np.zeros(1)

    def _table(self, field: str) -> np.ndarray:
        return self._tables.get(field, np.zeros(self._shape))

    def totals(
        self,
        fields: Sequence[str],
        choice: np.ndarray,
        accelerators: np.ndarray | None = None,
        *,
        paired: bool = False,
    ) -> dict[str, np.ndarray]:
        """[1, S] each, or [S] where paired."""
        layers = np.arange(self._shape[0])
        sums = {field: self._table(field)[layers, choice].sum(axis=1) for field in fields}
        return sums if paired else {field: values[None] for field, values in sums.items()}

    def additive(self, field: str, accelerators: np.ndarray | None = None) -> np.ndarray:
        """[1, L, C]."""
        return self._table(field)[None]

    def fits(self, choice: np.ndarray, accelerators: np.ndarray | None = None, *, paired: bool = False) -> np.ndarray:
        """Nothing bounds them."""
        return np.ones(len(choice) if paired else (1, len(choice)), dtype=bool)

    def always_fit(self) -> bool:
        """Nothing bounds them."""
        return True

    def room(self, accelerators: np.ndarray) -> np.ndarray:
        """Nothing bounds them."""
        return np.full(len(accelerators), np.inf)
