"""Rounding of a weight's rows with scales that suit the layer's inputs, and, for `gptq`, with errors made up for.

GPTQ (Frantar et al., 2023, arXiv:2210.17323): the columns of a row are rounded one after the other, and the error of
each is taken to those that follow by the inverse of the inputs' second moments H, which is best for the squared error
of the output, (w - q) H (w - q)^T. Scales are those of the block that is about to be rounded, errors included.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from codesign.formats import Format
from codesign.formats.format import Quantized
from codesign.formats.kernel import Scales, diffuse, elements
from codesign.quality.rounding.descent import descend
from codesign.quality.rounding.scales import block_scales

_PANEL = 128  # columns whose errors are taken to the others together


@dataclass(frozen=True)
class _Block:
    """Columns [first, last) that share a scale in each row, and those scales."""

    first: int
    last: int
    scales: Scales

    def nearest(self, part: Tensor, fmt: Format) -> tuple[Tensor, Tensor]:
        """The nearest elements to numbers of these columns [G, N, k], relative to the zero point, and their values."""
        found = elements(part.reshape(-1, part.shape[2], 1).contiguous(), self.scales, fmt.element, True)
        return found.view(part.shape), (found * self.scales.total).view(part.shape)


def rounded(rows: Tensor, fmt: Format, moments: Tensor, method: str) -> Quantized:
    """Rows [G, N, T, C] in a format with scales.

    moments: float32 [G, K, K] with K = T * C, positive definite, see `Moments`. method: clip, gptq or descent.
    Returns codes [G * N, T, C] with blocks along C, or [G * N, T * C] with one scale per row.
    """
    groups, outputs, taps, channels = rows.shape
    weight = rows.detach().float().reshape(groups, outputs, taps * channels)
    work = weight.clone()
    scaling = fmt.scaling
    assert scaling is not None
    of_tensor = float(work.abs().max()) if scaling.tensor_scale is not None else None
    importance = moments.diagonal(dim1=1, dim2=2)
    inverse = None
    if method != "clip":
        inverse = _inverse_factor(moments)
        # what is left of a column's error when those that follow have made up for it
        importance = inverse.diagonal(dim1=1, dim2=2).square().reciprocal()
    codes, values = torch.empty_like(work), torch.empty_like(work)
    blocks: list[_Block] = []
    joint = moments if method == "clip" and groups == 1 else None
    for first, last in _spans(taps, channels, scaling.block):
        part = work[:, :, first:last]
        flat = part.reshape(-1, part.shape[2])
        if joint is None:
            weights = importance[:, None, first:last].expand_as(part).reshape(flat.shape)
            scales = block_scales(flat, fmt, weights, of_tensor=of_tensor)
        else:
            scales = block_scales(flat, fmt, joint[0, first:last, first:last], joint=True, of_tensor=of_tensor)
        blocks.append(_Block(first, last, scales))
        if inverse is None:
            codes[:, :, first:last], values[:, :, first:last] = blocks[-1].nearest(part, fmt)
        else:
            _compensated(work, codes, values, blocks[-1], inverse, fmt)
    if method == "descent":
        of_column = [block for block in blocks for _ in range(block.first, block.last)]

        def nearest(column: int, target: Tensor) -> tuple[Tensor, Tensor]:
            found, meant = of_column[column].nearest(target.unsqueeze(2), fmt)
            return found[:, :, 0], meant[:, :, 0]

        descend(weight, codes, values, moments, nearest)
    return _quantized(fmt, codes, [block.scales for block in blocks], taps, channels)


def _compensated(work: Tensor, codes: Tensor, values: Tensor, block: _Block, inverse: Tensor, fmt: Format) -> None:
    """Round the columns of a block one after the other, and take the error of each to those that follow in `work`."""
    for first in range(block.first, block.last, _PANEL):
        last = min(first + _PANEL, block.last)
        part = work[:, :, first:last].clone()
        found, meant, errors = diffuse(part, block.scales, fmt.element, inverse[:, first:last, first:last])
        codes[:, :, first:last], values[:, :, first:last] = found, meant
        work[:, :, last:] -= errors @ inverse[:, first:last, last:]


def _spans(taps: int, channels: int, size: int | None) -> Iterator[tuple[int, int]]:
    """The columns of each block."""
    if size is None:
        yield 0, taps * channels
        return
    for tap in range(taps):
        for first in range(0, channels, size):
            yield tap * channels + first, tap * channels + min(first + size, channels)


def _inverse_factor(moments: Tensor) -> Tensor:
    """Upper Cholesky factor of the inverse, float32 [G, K, K]."""
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(moments.double()))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True).float()
    return factor


def _quantized(fmt: Format, values: Tensor, scales: list[Scales], taps: int, channels: int) -> Quantized:
    element, scaling = fmt.element, fmt.scaling
    assert scaling is not None
    rows = values.shape[0] * values.shape[1]
    shape = (rows, taps * channels) if scaling.block is None else (rows, taps, channels)
    spread = (rows, 1) if scaling.block is None else (rows, taps, len(scales) // taps)
    values = values.reshape(shape)
    blocks = torch.cat([each.block.view(rows, 1) for each in scales], dim=1).reshape(spread)
    zero_points = None
    if not scaling.symmetric:
        found = torch.cat([each.zero_point.view(rows, 1) for each in scales if each.zero_point is not None], dim=1)
        zero_points = found.reshape(spread)
        width = shape[-1] if scaling.block is None else min(scaling.block, channels)
        values = values + zero_points.repeat_interleave(width, dim=-1)[..., : shape[-1]]
        zero_points = element.encode(zero_points)
    return Quantized(fmt, element.encode(values), blocks, zero_points, scales[0].tensor, len(shape) - 1, torch.float32)
