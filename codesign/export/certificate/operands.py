"""Operands of a network's products as codes, in the tensor's own shape and as the rows that a unit reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from codesign.formats import Format, IntElement
from codesign.formats.format import Quantized
from codesign.hardware.rtl.verify.products import Codes
from codesign.quality.ranges import Range


@dataclass(frozen=True)
class Coded:
    """A quantized tensor: what a unit reads, and the scales that are applied outside of it."""

    format: Format
    codes: Tensor  # integers minus their zero points, or bit patterns; the tensor's shape
    scale_codes: Tensor | None  # bit patterns, with one entry for each block along the contraction; None without blocks
    outer: Tensor  # float64 of as many dimensions, of size 1 along the contraction; or a single number

    @property
    def block(self) -> int:
        """Elements of a block; 0 without blocks."""
        scaling = self.format.scaling
        return (scaling.block or 0) if scaling is not None else 0

    def moved(self, axis: int) -> Coded:
        """With dimension `axis` at the end."""
        return self.map(lambda x: x.movedim(axis, -1))

    def map(self, change: Callable[[Tensor], Tensor]) -> Coded:
        """A change of dimensions, of all parts that have any."""
        scales = None if self.scale_codes is None else change(self.scale_codes)
        return Coded(self.format, change(self.codes), scales, change(self.outer) if self.outer.ndim else self.outer)


def coded_activation(x: Tensor, fmt: Format, axes: tuple[int, ...], amax: Range | None) -> Coded:
    """An activation as the network quantizes it, see `QuantizedNetwork.activation`; bit for bit the same numbers."""
    x = x.detach()
    if fmt.per_token:
        ends = tuple(range(-len(axes), 0))
        moved = x.movedim(axes, ends)
        q = fmt.quantize(moved.flatten(-len(axes)), axis=-1)
        assert q.scales is not None
        outer = q.scales.double().reshape(*moved.shape[: -len(axes)], *(1 for _ in axes))
        codes = _inputs(q).reshape(moved.shape)
        return Coded(fmt, codes.movedim(ends, axes), None, outer.movedim(ends, axes))
    return _coded(fmt.quantize(x, axis=axes[0] if fmt.is_block else None, amax=amax))


def coded_weight(q: Quantized) -> Coded:
    """A weight, [N, K] or [N, T, C], with its scales of rows or blocks."""
    return _coded(q)


def _coded(q: Quantized) -> Coded:
    if q.format.is_block:
        assert q.format.scaling is not None
        scales = _unsigned(q.scale_codes(), q.format.scaling.scale.bits)
        outer = torch.ones((), dtype=torch.float64) if q.tensor_scale is None else q.tensor_scale.double()
        return Coded(q.format, _inputs(q), scales, outer)
    scales = torch.ones(()) if q.scales is None else q.scales
    return Coded(q.format, _inputs(q), None, scales.double())


def _inputs(q: Quantized) -> Tensor:
    """Codes as a unit reads them."""
    element = q.format.element
    if not isinstance(element, IntElement):
        return _unsigned(q.codes, element.bits)
    codes = q.codes.to(torch.int16 if element.bits <= 12 else torch.int32)
    if q.zero_points is None:
        return codes
    zero_points, scaling = q.zero_points.to(codes.dtype), q.format.scaling
    if q.axis is not None and scaling is not None and scaling.block is not None:
        length = q.shape[q.axis]
        zero_points = zero_points.repeat_interleave(min(scaling.block, length), dim=q.axis).narrow(q.axis, 0, length)
    return codes - zero_points


def _unsigned(codes: Tensor, bits: int) -> Tensor:
    """Bit patterns as numbers that are not negative."""
    return codes.to(torch.uint8) if bits <= 8 else codes.to(torch.int32) & (1 << bits) - 1


def rows_for_unit(codes: Tensor, scale_codes: Tensor | None, own: int, block: int) -> Codes:
    """Codes [B, rows, T, C] and scale codes [B, rows, T, blocks of C] as rows of K = T * C.

    own: elements of a block of this operand; block: of the larger one of both, to whose multiple C is padded by zeros,
    the scale of a padded block with code 0; 0 without blocks.
    """
    channels = codes.shape[-1]
    pad = -channels % block if block else 0
    flat = F.pad(codes, (0, pad)).flatten(2)
    if scale_codes is None:
        return Codes(flat.numpy())
    blocks = -(-(channels + pad) // own)
    return Codes(flat.numpy(), F.pad(scale_codes, (0, blocks - scale_codes.shape[-1])).flatten(2).numpy())
