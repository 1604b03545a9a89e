"""Which tensors of a network wait for a later product while others run, and which go straight to the next one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class _Life:
    """born, uses: moments, see `Liveness`; sources: the products whose results it is made of element by element, empty
    where it is not."""

    elements: int
    born: int
    sources: frozenset[int]
    uses: set[int] = field(default_factory=set)

    @property
    def last(self) -> int:
        return max(self.uses, default=self.born)

    def waits(self) -> list[int]:
        """The products that run between its birth and its last use and do not read it."""
        between = range(self.born + 1, self.last)
        return [moment // 2 for moment in between if moment % 2 == 0 and moment not in self.uses]


class Liveness:
    """Follows storages through the operations of a pass.

    Product number i runs at moment 2i, what is between it and the next one at 2i + 1. Views and results written in
    place live on as the storage that they share.
    """

    def __init__(self) -> None:
        self._moment = -1
        self._lives: list[_Life] = []
        self._current: dict[int, _Life] = {}  # by storage; one that is freed and taken again begins a new life
        self._inputs: list[_Life | None] = []  # of each product
        self._whole: set[int] = set()  # products whose result something reads that needs all of it

    def begin(self, *operands: Tensor) -> None:
        """A product begins; its input first."""
        self._moment = 2 * ((self._moment + 2) // 2)
        self._inputs.append(self._current.get(_storage(operands[0])) if operands else None)
        self.see(operands, ())

    def end(self) -> None:
        """The last product that began is done."""
        self._moment |= 1

    def see(self, operands: Iterable[Tensor], results: Iterable[Tensor], pointwise: bool = False) -> None:
        """One operation, in order of execution; pointwise: its results are made element by element."""
        read = {_storage(tensor) for tensor in operands}
        lives = [self._current[key] for key in read & self._current.keys()]
        for life in lives:
            life.uses.add(self._moment)
        fresh = [tensor for tensor in results if _storage(tensor) not in read]
        for tensor in fresh:
            self._current.pop(_storage(tensor), None)
        made = [tensor for tensor in fresh if tensor.is_floating_point()]
        if made or pointwise:
            sources = self._sources(lives, pointwise)
            for life in [] if made else lives:  # one of them was written in place
                life.sources = sources
            for tensor in made:
                self._current[_storage(tensor)] = _Life(tensor.numel(), self._moment, sources)
                self._lives.append(self._current[_storage(tensor)])

    def _sources(self, lives: Sequence[_Life], pointwise: bool) -> frozenset[int]:
        if self._moment % 2 == 0:
            return frozenset((self._moment // 2,))
        if pointwise and all(life.sources for life in lives):
            return frozenset().union(*(life.sources for life in lives))
        self._whole.update(*(life.sources for life in lives))
        return frozenset()

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

    def fed(self, products: int) -> Sequence[bool]:
        """Which of so many products take the result of the one before, element by element, as their input, where
        nothing else ever reads it."""
        last: dict[int, int] = {}
        for life in self._lives:
            for source in life.sources:
                last[source] = max(last.get(source, 0), life.last)
        return [
            life is not None
            and life.sources == {product - 1}
            and product - 1 not in self._whole
            and last[product - 1] <= 2 * product
            for product, life in enumerate(self._inputs[:products])
        ]


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
