"""`Costs`: the costs that the engine needs, of a grid of accelerators or of any additive cost model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np


class Costs(Protocol):
    """Costs of one network with L layers and C pairs on A accelerators; see `codesign.hardware.CostTables`.

    Methods take the indices of A' accelerators (default: all) and S assignments, int [S, L]. ``paired`` means that
    assignment i belongs to accelerator i, and results are [S] instead of [A', S].
    """

    @property
    def supported(self) -> np.ndarray:
        """Which pairs an accelerator supports, bool [A, C]."""

    @property
    def area_mm2(self) -> np.ndarray:
        """Area of each accelerator in mm2, [A]."""

    def totals(
        self,
        fields: Sequence[str],
        choice: np.ndarray,
        accelerators: np.ndarray | None = None,
        *,
        paired: bool = False,
    ) -> dict[str, np.ndarray]:
        """Cost columns of assignments: field -> [A', S], or [S] if paired; inf where it cannot run."""

    def additive(self, field: str, accelerators: np.ndarray | None = None) -> np.ndarray:
        """The contribution of each layer in each pair to an additive column, [A', L, C]."""

    def fits(self, choice: np.ndarray, accelerators: np.ndarray | None = None, *, paired: bool = False) -> np.ndarray:
        """Whether the memories hold the network, bool [A', S], or [S] if paired."""

    def always_fit(self) -> bool:
        """Whether the memories of all accelerators hold the network in any assignment."""

    def room(self, accelerators: np.ndarray) -> np.ndarray:
        """Bytes of DRAM that are available to weights and caches, [A']; inf if nothing bounds them."""


class AdditiveCosts:
    """Costs that are sums over layers, without a hardware model.

    Args:
        tables: field -> cost of choice c in layer l, [L, C]. Other fields cost nothing.
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
        """Sums over layers: field -> [1, S], or [S] if paired."""
        layers = np.arange(self._shape[0])
        sums = {field: self._table(field)[layers, choice].sum(axis=1) for field in fields}
        return sums if paired else {field: values[None] for field, values in sums.items()}

    def additive(self, field: str, accelerators: np.ndarray | None = None) -> np.ndarray:
        """The table of the field, [1, L, C]."""
        return self._table(field)[None]

    def fits(self, choice: np.ndarray, accelerators: np.ndarray | None = None, *, paired: bool = False) -> np.ndarray:
        """True throughout: there is no memory to exceed."""
        return np.ones(len(choice) if paired else (1, len(choice)), dtype=bool)

    def always_fit(self) -> bool:
        """True: there is no memory to exceed."""
        return True

    def room(self, accelerators: np.ndarray) -> np.ndarray:
        """Infinite: there is no memory to exceed."""
        return np.full(len(accelerators), np.inf)
