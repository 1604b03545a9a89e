"""The quantizer of scaled formats in torch operations: on every device, and the reference of the compiled ones.

Slabs are [outer, length, inner]; the k neighbours along `length` that share a scale are a group, the last of which may
be shorter. Scales and ranges are [groups, 1, inner].
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from codesign.formats.elements import Element, FloatElement
from codesign.formats.layout import tiles
from codesign.formats.rounding import Rounding, round_elements_

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    from codesign.lazy import torch


def magnitudes(slabs: Tensor, k: int) -> Tensor:
    """Largest magnitude of each group; NaN where it holds one."""
    groups = _grouped(slabs, k)
    count, k, inner = groups.shape
    if count == 1 and inner == 1:
        low, high = groups.aminmax()
        return torch.maximum(high, -low).view(1, 1, 1).float()
    if inner == 1 and k < 32 and k & (k - 1) == 0:
        # torch reduces short rows one element at a time; halving them by elementwise maxima is twice as fast
        return torch.cat([_halved(groups[row]) for row, _ in tiles(groups)]).float()
    return torch.maximum(groups.amax(1, keepdim=True), -groups.amin(1, keepdim=True)).float()


def extremes(slabs: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The least and the largest of each group's numbers and 0; NaN where it holds one."""
    groups = _grouped(slabs, k)
    return groups.amin(1, keepdim=True).float().clamp_max_(0), groups.amax(1, keepdim=True).float().clamp_min_(0)


def fake(slabs: Tensor, k: int, how: Rounding, out: Tensor) -> None:
    """Write rounded elements to `out` (slabs' shape)."""
    groups = _grouped(slabs, k)
    if slabs.shape[1] % k == 0:
        _run(groups, how, out.view(groups.shape))
        return
    found = torch.empty_like(groups, dtype=out.dtype)
    _run(groups, how, found)
    outer, length, inner = slabs.shape
    out.copy_(found.view(outer, -1, inner)[:, :length])


def diffuse(
    x: Tensor, scale: Tensor, zero_point: Tensor | None, element: Element, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(elements, values, errors) of `kernel.diffuse`."""
    elements, values, errors = (torch.empty_like(x) for _ in range(3))
    how = Rounding(element, scale, zero_point, clip=True, rescale=False, largest=None)
    for j in range(x.shape[2]):
        column = x[:, :, j]
        rows = column.reshape(-1, 1, 1)
        found = torch.empty_like(rows)
        fake(rows, 1, how, found)
        elements[:, :, j] = found.view(column.shape)
        values[:, :, j] = (found * scale).view(column.shape)
        errors[:, :, j] = (column - values[:, :, j]) / weights[:, j, j, None]
        x[:, :, j + 1 :] -= errors[:, :, j, None] * weights[:, None, j, j + 1 :]
    return elements, values, errors


def cast(slabs: Tensor, element: FloatElement, out: Tensor) -> None:
    """Write numbers rounded to an element of 16 or 32 bits, saturating, to `out` (slabs' shape and dtype)."""
    values = native(slabs, element)
    most = torch.finfo(out.dtype).max
    if values.dtype != torch.float32 and out.dtype not in (values.dtype, torch.float32):
        values = values.float()
    # rounding up may have left the dtype's range
    out.copy_(values if values.dtype != torch.float32 else values.clamp(-most, most))


def native(x: Tensor, element: FloatElement) -> Tensor:
    """`x` in the element's own torch type, saturating."""
    assert element.native is not None
    limit = min(element.max_value, torch.finfo(x.dtype).max)
    wide = x if x.dtype == element.native[0] else x.float()
    return wide.clamp(-limit, limit).to(element.native[0])


def _grouped(slabs: Tensor, k: int) -> Tensor:
    """[groups, k, inner]; a short last group is filled with zeros."""
    missing = -slabs.shape[1] % k
    if missing:
        slabs = torch.nn.functional.pad(slabs, (0, 0, 0, missing))
    return slabs.reshape(-1, k, slabs.shape[2])


def _halved(groups: Tensor) -> Tensor:
    y = groups.abs()
    while y.shape[1] > 1:
        half = y.shape[1] // 2
        y = torch.maximum(y[:, :half], y[:, half:])
    return y


def _run(groups: Tensor, how: Rounding, out: Tensor) -> None:
    wide = groups.dtype == torch.float32
    copy = y = scratch = groups.new_empty(0, dtype=torch.float32)
    element, zero_point = how.element, how.zero_point
    single = how.scale.numel() == 1
    for row, column in tiles(groups):
        x, target = groups[row, column], out[row, column]
        if scratch.shape != x.shape:
            scratch = torch.empty_like(x, dtype=torch.float32, memory_format=torch.contiguous_format)
            if not wide:
                copy = torch.empty_like(scratch)
            if out.dtype != torch.float32:
                y = torch.empty_like(scratch)
        if not wide:
            x = copy.copy_(x)
        values = target if out.dtype == torch.float32 else y
        scale = how.scale.view(()) if single else how.scale[row]
        torch.div(x, scale, out=values)
        if zero_point is not None:
            _clamp_around(values, zero_point.view(()) if single else zero_point[row], element)
        elif how.clip:
            values.clamp_(element.min_value, element.max_value)
        round_elements_(values, element, scratch)
        if isinstance(element, FloatElement):
            torch.copysign(values, x, out=values)
        if how.rescale:
            values.mul_(scale)
            if how.largest is not None:
                values.clamp_(-how.largest, how.largest)
        if values is not target:
            target.copy_(values)


def _clamp_around(values: Tensor, zero_point: Tensor, element: Element) -> None:
    torch.maximum(values, element.min_value - zero_point, out=values)
    torch.minimum(values, element.max_value - zero_point, out=values)
