"""Which tensors of a network wait for a later product while others run: residuals, skip connections, queries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class _Life:
    """born, uses: moments, see `Liveness`."""

    elements: int
    born: int
    uses: set[int] = field(default_factory=set)

    def waits(self) -> list[int]:
        """The products that run between its birth and its last use and do not read it."""
        last = max(self.uses, default=self.born)
        return [moment // 2 for moment in range(self.born + 1, last) if moment % 2 == 0 and moment not in self.uses]


class Liveness:
    """Follows storages through the operations of a pass.

    Product number i runs at moment 2i, what is between it and the next one at 2i + 1. Views and results written in
    place live on as the storage that they share.
    """

    def __init__(self) -> None:
        self._moment = -1
        self._lives: list[_Life] = []
        self._current: dict[int, _Life] = {}  # by storage; one that is freed and taken again begins a new life

    def begin(self, *operands: Tensor) -> None:
        """A product begins."""
        self._moment = 2 * ((self._moment + 2) // 2)
        self.see(operands, ())

    def end(self) -> None:
        """The last product that began is done."""
        self._moment |= 1

    def see(self, operands: Iterable[Tensor], results: Iterable[Tensor]) -> None:
        """One operation, in order of execution."""
        read = {_storage(tensor) for tensor in operands}
        for key in read & self._current.keys():
            self._current[key].uses.add(self._moment)
        for tensor in results:
            if (key := _storage(tensor)) not in read and tensor.is_floating_point():
                self._current[key] = _Life(tensor.numel(), self._moment)
                self._lives.append(self._current[key])

    def kept(self, products: int) -> tuple[Sequence[int], int]:
        """(elements born at or after each of so many products that wait later, the most that wait at one time)."""
        born, waiting = [0] * products, [0] * products
        for life in self._lives:
            waits = life.waits()
            if waits and life.born >= 0:
                born[life.born // 2] += life.elements
            for product in waits:
                waiting[product] += life.elements
        return born, max(waiting, default=0)


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
