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
from codesign.formats.kernel import Scales, elements
from codesign.quality.rounding.scales import block_scales

_DAMPING = 0.01  # of the mean of H's diagonal, added to it
_PANEL = 128  # columns whose errors are taken to the others together


@dataclass(frozen=True)
class _Block:
    """Columns [first, last) that share a scale in each row."""

    first: int
    last: int


def rounded(rows: Tensor, fmt: Format, moments: Tensor, *, compensate: bool) -> Quantized:
    """Rows [G, N, T, C] in a format with scales.

    moments: float32 [G, K, K] with K = T * C, see `Moments`. compensate: whether errors are made up for (GPTQ).
    Returns codes [G * N, T, C] with blocks along C, or [G * N, T * C] with one scale per row.
    """
    groups, outputs, taps, channels = rows.shape
    work = rows.detach().float().reshape(groups, outputs, taps * channels).clone()
    scaling = fmt.scaling
    assert scaling is not None
    of_tensor = float(work.abs().max()) if scaling.tensor_scale is not None else None
    importance = _alive(moments.diagonal(dim1=1, dim2=2))
    inverse = _inverse_factor(moments, importance) if compensate else None
    if inverse is not None:
        importance = inverse.diagonal(dim1=1, dim2=2).square().reciprocal()
    codes = torch.empty_like(work)
    found: list[Scales] = []
    for block in _blocks(taps, channels, scaling.block):
        part = work[:, :, block.first : block.last]
        weights = importance[:, None, block.first : block.last].expand_as(part).reshape(-1, part.shape[2])
        scales = block_scales(part.reshape(-1, part.shape[2]), fmt, importance=weights, of_tensor=of_tensor)
        found.append(scales)
        if inverse is None:
            codes[:, :, block.first : block.last] = _elements(part, scales, fmt)
            continue
        for first in range(block.first, block.last, _PANEL):
            last = min(first + _PANEL, block.last)
            errors = _panel(work, codes, first, last, inverse, scales, fmt)
            work[:, :, last:] -= errors @ inverse[:, first:last, last:]
    return _quantized(fmt, codes, found, taps, channels)


def _panel(work: Tensor, codes: Tensor, first: int, last: int, inverse: Tensor, scales: Scales, fmt: Format) -> Tensor:
    """Round columns [first, last) of `work` into `codes`; returns their errors over the factor's diagonal [G, N, P]."""
    part = work[:, :, first:last]
    errors = torch.empty_like(part)
    scale = scales.total.view(part.shape[0], part.shape[1])
    for j in range(last - first):
        column = part[:, :, j]
        values = _elements(column.unsqueeze(2), scales, fmt)[:, :, 0]
        codes[:, :, first + j] = values
        error = (column - values * scale) / inverse[:, first + j, first + j, None]
        part[:, :, j + 1 :] -= error.unsqueeze(2) * inverse[:, None, first + j, first + j + 1 : last]
        errors[:, :, j] = error
    return errors


def _elements(part: Tensor, scales: Scales, fmt: Format) -> Tensor:
    """Numbers [G, N, k] that share a scale in each row as elements, relative to the zero point."""
    return elements(part.reshape(-1, part.shape[2], 1).contiguous(), scales, fmt.element, True).view(part.shape)


def _blocks(taps: int, channels: int, size: int | None) -> Iterator[_Block]:
    if size is None:
        yield _Block(0, taps * channels)
        return
    for tap in range(taps):
        for first in range(0, channels, size):
            yield _Block(tap * channels + first, tap * channels + min(first + size, channels))


def _alive(diagonal: Tensor) -> Tensor:
    """Mean squares of inputs [G, K]; of those that were always zero, a small number, so that their weights count."""
    least = diagonal.mean(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny) * 1e-6
    return torch.maximum(diagonal, least)


def _inverse_factor(moments: Tensor, diagonal: Tensor) -> Tensor:
    """Upper Cholesky factor of the inverse of the damped moments, float32 [G, K, K]."""
    damped = moments.double()
    damped.diagonal(dim1=1, dim2=2).copy_(diagonal.double() + _DAMPING * diagonal.double().mean(dim=1, keepdim=True))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
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
