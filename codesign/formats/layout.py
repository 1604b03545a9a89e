"""Reshapes a tensor of any shape, axis and memory order into slabs, in which neighbours share a scale."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
else:
    pass

_TILE = 1 << 19  # elements per tile of the elementwise passes, so that a tile stays in cache from pass to pass


@dataclass(frozen=True)
class Layout:
    """How a tensor of `shape` becomes [outer, length, inner], where k neighbours along `length` share a scale.

    The last of them may be fewer. Scales are [outer * blocks, 1, inner].
    """

    shape: tuple[int, ...]
    order: tuple[int, ...]  # permutation that makes the tensor contiguous, so that channels-last data is not copied
    outer: int  # product of the dimensions before `axis` in memory order
    length: int  # of `axis`
    blocks: int  # per slice along `axis`
    k: int  # elements per block, of which the last may have fewer
    inner: int  # product of the dimensions after `axis` in memory order
    axis: int | None  # None: one group for the whole tensor

    @classmethod
    def of(cls, x: Tensor, axis: int | None, block: int | None) -> Layout:
        """The layout of `x` with one scale per slice along `axis`, or per `block` elements; axis None: one scale."""
        return _layout(tuple(x.shape), memory_order(x), axis, block)

    @cached_property
    def plain_order(self) -> bool:
        """Whether the memory order equals the order of the dimensions."""
        return self.order == tuple(range(len(self.shape)))

    def slabs(self, x: Tensor) -> Tensor:
        """`x`, of this layout's shape, as [outer, length, inner]; a view if the memory order allows it."""
        if not self.plain_order:
            x = x.permute(self.order)
        return x.reshape(self.outer, self.length, self.inner).contiguous()

    def restore(self, slabs: Tensor) -> Tensor:
        """Inverse of `slabs`."""
        return self._restore(slabs, self.length)

    def group_scales(self, scales: Tensor) -> Tensor:
        """`scales`, which broadcast to `scale_shape`, as [groups, 1, inner]."""
        scales = scales.expand(self.scale_shape)
        if self.axis is None:
            return scales.reshape(1, 1, 1)
        return scales.permute(self.order).reshape(self.outer * self.blocks, 1, self.inner)

    def ungroup_scales(self, groups: Tensor) -> Tensor:
        """Inverse of `group_scales`: shape `scale_shape`."""
        if self.axis is None:
            return groups.reshape(())
        every = groups.expand(self.outer * self.blocks, 1, self.inner)  # one calibrated range may apply to all groups
        return self._restore(every.reshape(self.outer, self.blocks, self.inner), self.blocks)

    @property
    def scale_shape(self) -> tuple[int, ...]:
        """Shape of the scales: the tensor's with one entry per block along the axis, or () for a single scale."""
        if self.axis is None:
            return ()
        return (*self.shape[: self.axis], self.blocks, *self.shape[self.axis + 1 :])

    def _restore(self, x: Tensor, length: int) -> Tensor:
        if self.plain_order and length == self.length:
            return x.reshape(self.shape)
        sizes = [length if d == self.axis else self.shape[d] for d in self.order]
        inverse = sorted(range(len(self.order)), key=self.order.__getitem__)
        return x.reshape(sizes).permute(inverse)


@lru_cache(maxsize=4096)
def _layout(shape: tuple[int, ...], order: tuple[int, ...], axis: int | None, block: int | None) -> Layout:
    if axis is None:
        size = prod(shape)
        return Layout(shape, order, 1, size, 1, size, 1, None)
    sizes = [shape[d] for d in order]
    place = order.index(axis)
    length = shape[axis]
    k = min(block or length, length)
    return Layout(shape, order, prod(sizes[:place]), length, -(-length // k), k, prod(sizes[place + 1 :]), axis)


def memory_order(x: Tensor) -> tuple[int, ...]:
    """Dimensions from the slowest to the fastest in memory; the identity if `x` is not dense."""
    identity = tuple(range(x.ndim))
    if x.is_contiguous():
        return identity
    order = tuple(sorted(identity, key=x.stride, reverse=True))
    return order if x.permute(order).is_contiguous() else identity


def tiles(groups: Tensor) -> Iterator[tuple[slice, slice]]:
    """Slices of the first two dimensions of [groups, k, inner] that cover it in cache-sized tiles."""
    count, k, inner = groups.shape
    rows = max(1, _TILE // max(1, k * inner))
    columns = k if k * inner <= 2 * _TILE else max(1, _TILE // inner)
    for row in range(0, count, rows):
        for column in range(0, k, columns):
            yield slice(row, row + rows), slice(column, column + columns)
