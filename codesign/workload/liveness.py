"""Liveness analysis of a forward pass: tensors that are live across products, and products that can be fused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef


@dataclass
class _Life:
    """The live range of one storage; times as in `Liveness`."""

    elements: int
    born: int  # time of the operation that wrote it
    sources: frozenset[int]  # the products from whose results it is computed elementwise; empty if it is not
    storage: StorageWeakRef  # its memory is given up, but no later storage takes its place in `Liveness`
    uses: set[int] = field(default_factory=set)  # times of the operations that read it

    @property
    def last(self) -> int:
        return max(self.uses, default=self.born)

    def waits(self) -> list[int]:
        """The products that run between `born` and the last use and do not read this storage."""
        between = range(self.born + 1, self.last)
        return [moment // 2 for moment in between if moment % 2 == 0 and moment not in self.uses]


class Liveness:
    """Tracks the live ranges of storages through the operations of a forward pass.

    Product i runs at time 2i, the operations between it and the next product at time 2i + 1. Views and in-place
    results share the live range of their storage.
    """

    def __init__(self) -> None:
        self._moment = -1
        self._lives: list[_Life] = []
        self._current: dict[int, _Life] = {}  # by storage
        self._inputs: list[_Life | None] = []  # the input of each product
        self._whole: set[int] = set()  # products whose result is read by an operation that is not elementwise

    def begin(self, *operands: Tensor) -> None:
        """A product starts; its operands, input first."""
        self._moment = 2 * ((self._moment + 2) // 2)
        self._inputs.append(self._current.get(_storage(operands[0])) if operands else None)
        self.see(operands, ())

    def end(self) -> None:
        """The current product has ended."""
        self._moment |= 1

    def see(self, operands: Iterable[Tensor], results: Iterable[Tensor], pointwise: bool = False) -> None:
        """Record one operation, in order of execution. pointwise: whether it is elementwise."""
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
            for life in [] if made else lives:  # an in-place operation
                life.sources = sources
            for tensor in made:
                reference = StorageWeakRef(tensor.untyped_storage())
                self._current[_storage(tensor)] = _Life(tensor.numel(), self._moment, sources, reference)
                self._lives.append(self._current[_storage(tensor)])

    def _sources(self, lives: Sequence[_Life], pointwise: bool) -> frozenset[int]:
        if self._moment % 2 == 0:
            return frozenset((self._moment // 2,))
        if pointwise and all(life.sources for life in lives):
            return frozenset().union(*(life.sources for life in lives))
        self._whole.update(*(life.sources for life in lives))
        return frozenset()

    def kept(self, products: int) -> tuple[Sequence[int], int]:
        """(elements written at or after each product that stay live across a later one, the peak of all live elements).

        A storage counts for a product if it is live while that product runs and the product does not read it.
        """
        born, waiting = [0] * products, [0] * products
        for life in self._lives:
            waits = life.waits()
            if waits and life.born >= 0:
                born[life.born // 2] += life.elements
            for product in waits:
                waiting[product] += life.elements
        return born, max(waiting, default=0)

    def fed(self, products: int) -> Sequence[bool]:
        """For each product, whether its input is computed elementwise from the previous product's result alone, and
        nothing else reads that result: then the two can be fused."""
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
