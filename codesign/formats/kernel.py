"""The quantizer of all scaled formats: measure ranges, choose scales, round scaled elements, tile by tile.

In every format an element is ``round(clamp(x / scale))`` with a true division and ties to even, and its dequantized
value is ``element * scale`` in float32, rounded to x's dtype. `fake` includes the dequantization, `elements` does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from codesign.formats.elements import Element, IntElement
from codesign.formats.layout import tiles
from codesign.formats.rounding import round_elements_
from codesign.formats.scaling import Scaling, asymmetric_scale, symmetric_scale

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    from codesign.lazy import torch


@dataclass(frozen=True)
class Range:
    """Ranges of groups: -high .. high if `low` is None, else low .. high."""

    high: Tensor  # float32 [groups, 1, inner]
    low: Tensor | None  # like high
    measured: bool  # taken from the data, so that no element lies outside
    top: float  # the largest magnitude of all ranges
    of_tensor: float | None = None  # the magnitude that sets the tensor scale of two-level scaling; None: `top`


@dataclass(frozen=True)
class Scales:
    """Scales of groups, float32 [groups, 1, inner]."""

    total: Tensor  # what elements are divided by: block x tensor with two-level scales, else block
    block: Tensor
    tensor: Tensor | None  # scalar
    zero_point: Tensor | None


def measure(groups: Tensor, symmetric: bool) -> tuple[Tensor, Range]:
    """The groups [groups, k, inner], infinities clamped to the dtype's largest number, and ranges without NaNs."""
    low, high, top = _extremes(groups, symmetric)
    if not top < float("inf"):  # also for NaN
        largest = torch.finfo(groups.dtype).max
        groups = groups.clamp(-largest, largest)
        low, high, top = _extremes(groups.nan_to_num(nan=0.0), symmetric)
    return groups, Range(high, low, True, top)


def _extremes(groups: Tensor, symmetric: bool) -> tuple[Tensor | None, Tensor, float]:
    if symmetric:
        high = absmax(groups).float()
        return None, high, float(high.amax())
    low = groups.amin(1, keepdim=True).float().clamp_max_(0)
    high = groups.amax(1, keepdim=True).float().clamp_min_(0)
    return low, high, float(torch.maximum(high.amax(), -low.amin()))


def absmax(groups: Tensor) -> Tensor:
    """Largest magnitude of each group: [groups, 1, inner]."""
    count, k, inner = groups.shape
    if count == 1 and inner == 1:
        low, high = groups.aminmax()
        return torch.maximum(high, -low).view(1, 1, 1)
    if inner == 1 and k < 32 and k & (k - 1) == 0:
        # torch reduces short rows one element at a time; halving them by elementwise maxima is twice as fast
        return torch.cat([_halved(groups[row]) for row, _ in tiles(groups)])
    return torch.maximum(groups.amax(1, keepdim=True), -groups.amin(1, keepdim=True))


def _halved(groups: Tensor) -> Tensor:
    y = groups.abs()
    while y.shape[1] > 1:
        half = y.shape[1] // 2
        y = torch.maximum(y[:, :half], y[:, half:])
    return y


def pick_scales(ranges: Range, element: Element, scaling: Scaling) -> Scales:
    """The scales of groups with the given ranges, by the rule of `scaling`."""
    if ranges.low is not None:
        scale, zero_point = asymmetric_scale(ranges.low, ranges.high, element, scaling)
        return Scales(scale, scale, None, zero_point)
    scale, tensor = symmetric_scale(ranges.high, element, scaling, ranges.of_tensor)
    return Scales(scale if tensor is None else scale * tensor, scale, tensor, None)


def clips(ranges: Range, element: Element, scaling: Scaling) -> bool:
    """Whether x / scale may exceed the element's range by more than the rounding of the scale."""
    if ranges.of_tensor is not None:
        return True
    exact = scaling.rule == "rceil" or (scaling.rule == "absmax" and scaling.block is None)
    return not (exact and ranges.measured)


def elements(groups: Tensor, scales: Scales, element: Element, clip: bool) -> Tensor:
    """Rounded elements as float32 values [groups, k, inner]; with a zero point, relative to it."""
    out = torch.empty_like(groups, dtype=torch.float32)
    _run(groups, scales, element, clip, out, rescale=False, largest=None)
    return out


def fake(groups: Tensor, scales: Scales, element: Element, clip: bool, out: Tensor, largest: float | None) -> None:
    """Write fake-quantized values to `out` (shape and dtype of `groups`), clamped to ±largest if given."""
    _run(groups, scales, element, clip, out, rescale=True, largest=largest)


def _run(
    groups: Tensor, scales: Scales, element: Element, clip: bool, out: Tensor, rescale: bool, largest: float | None
) -> None:
    wide = groups.dtype == torch.float32
    copy = y = scratch = groups.new_empty(0, dtype=torch.float32)
    single = scales.total.numel() == 1
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
        scale = scales.total.view(()) if single else scales.total[row]
        torch.div(x, scale, out=values)
        if scales.zero_point is not None:
            _clamp_around(values, scales.zero_point.view(()) if single else scales.zero_point[row], element)
        elif clip:
            values.clamp_(element.min_value, element.max_value)
        round_elements_(values, element, scratch)
        if not isinstance(element, IntElement):
            torch.copysign(values, x, out=values)
        if rescale:
            values.mul_(scale)
            if largest is not None:
                values.clamp_(-largest, largest)
        if values is not target:
            target.copy_(values)


def _clamp_around(values: Tensor, zero_point: Tensor, element: Element) -> None:
    torch.maximum(values, element.min_value - zero_point, out=values)
    torch.minimum(values, element.max_value - zero_point, out=values)
