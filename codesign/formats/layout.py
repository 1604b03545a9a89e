"""A tensor of any shape, axis and memory order seen as groups that share a scale."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    from codesign.lazy import torch

_TILE = 1 << 19  # elements that the elementwise passes work on at a time: they stay in cache from pass to pass


@dataclass(frozen=True)
class Layout:
    """How a tensor of `shape` becomes ``[groups, k, inner]``: scales are shared along the middle.

    order: the permutation that makes the tensor contiguous in memory, so that channels-last data is
    not copied. A ragged last block is padded with zeros.
    """

    shape: tuple[int, ...]
    order: tuple[int, ...]
    outer: int
    length: int
    blocks: int
    k: int
    inner: int
    axis: int | None

    @classmethod
    def of(cls, x: Tensor, axis: int | None, block: int | None) -> Layout:
        """The layout of `x` for scales along `axis` (None: one for the whole tensor), per `block` of it if given."""
        return _layout(tuple(x.shape), memory_order(x), axis, block)

    @cached_property
    def ragged(self) -> bool:
        """Whether the last block is shorter than the others."""
        return self.blocks * self.k != self.length

    @cached_property
    def plain_order(self) -> bool:
        """Whether memory order is the order of the dimensions."""
        return self.order == tuple(range(len(self.shape)))

    def group(self, x: Tensor) -> Tensor:
        """``[groups, k, inner]`` of a tensor of this layout's shape: a view where memory order allows it."""
        if not self.plain_order:
            x = x.permute(self.order)
        if self.ragged:
            x = x.reshape(self.outer, self.length, self.inner)
            x = torch.nn.functional.pad(x, (0, 0, 0, self.blocks * self.k - self.length))
        return x.reshape(self.outer * self.blocks, self.k, self.inner).contiguous()

    def ungroup(self, groups: Tensor) -> Tensor:
        """Inverse of `group`; padding is dropped."""
        if self.ragged:
            groups = groups.view(self.outer, self.blocks * self.k, self.inner)[:, : self.length].contiguous()
        return self._restore(groups, self.length)

    def group_scales(self, scales: Tensor) -> Tensor:
        """``[groups, 1, inner]`` of anything that broadcasts to `scale_shape`."""
        scales = scales.expand(self.scale_shape)
        if self.axis is None:
            return scales.reshape(1, 1, 1)
        return scales.permute(self.order).reshape(self.outer * self.blocks, 1, self.inner)

    def ungroup_scales(self, groups: Tensor) -> Tensor:
        """Inverse of `group_scales`: the tensor's shape with one entry per block along the axis, or a scalar."""
        if self.axis is None:
            return groups.reshape(())
        every = groups.expand(self.outer * self.blocks, 1, self.inner)  # a calibrated range may be common to all
        return self._restore(every.reshape(self.outer, self.blocks, self.inner), self.blocks)

    @property
    def scale_shape(self) -> tuple[int, ...]:
        """Shape of the scales."""
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
    """Dimensions from the slowest to the fastest in memory; as they stand if `x` has gaps or overlaps."""
    identity = tuple(range(x.ndim))
    if x.is_contiguous():
        return identity
    order = tuple(sorted(identity, key=x.stride, reverse=True))
    return order if x.permute(order).is_contiguous() else identity


def tiles(groups: Tensor) -> Iterator[tuple[slice, slice]]:
    """Slices over the first two dimensions of ``[groups, k, inner]`` that cover it in cache-sized pieces."""
    count, k, inner = groups.shape
    rows = max(1, _TILE // max(1, k * inner))
    columns = k if k * inner <= 2 * _TILE else max(1, _TILE // inner)
    for row in range(0, count, rows):
        for column in range(0, k, columns):
            yield slice(row, row + rows), slice(column, column + columns)
