"""The quantizer of all scaled formats: measure ranges, choose scales, round scaled elements.

In every format an element is ``round(clamp(x / scale))`` with a true division and ties to even, and its dequantized
value is ``element * scale`` in float32, rounded to x's dtype. `fake` includes the dequantization, `elements` does not.
Slabs are those of `Layout`. What reads every number is done by `compiled` or `reference`, with equal results.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

from codesign.formats import compiled, reference
from codesign.formats.elements import E8M0, Element, FloatElement
from codesign.formats.rounding import Rounding
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


def measure(slabs: Tensor, symmetric: bool, k: int | None = None) -> tuple[Tensor, Range]:
    """The slabs, infinities clamped to the dtype's largest number, and ranges without NaNs of groups of k neighbours
    along the middle dimension; k None: all of them."""
    k = k or slabs.shape[1]
    low, high, top = _extremes(slabs, symmetric, k)
    if not top < float("inf"):  # also for NaN
        largest = torch.finfo(slabs.dtype).max
        slabs = slabs.clamp(-largest, largest)
        low, high, top = _extremes(slabs.nan_to_num(nan=0.0), symmetric, k)
    return slabs, Range(high, low, True, top)


def _extremes(slabs: Tensor, symmetric: bool, k: int) -> tuple[Tensor | None, Tensor, float]:
    backend = _backend(slabs)
    if symmetric:
        high = backend.magnitudes(slabs, k)
        return None, high, float(high.amax())
    low, high = backend.extremes(slabs, k)
    return low, high, float(torch.maximum(high.amax(), -low.amin()))


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
    never = scaling.rule == "rceil" and scaling.scale == E8M0
    exact = never or (scaling.rule == "absmax" and scaling.block is None)
    return not (exact and ranges.measured)


def elements(slabs: Tensor, scales: Scales, element: Element, clip: bool, k: int | None = None) -> Tensor:
    """Rounded elements as float32 values, of the slabs' shape; with a zero point, relative to it."""
    out = torch.empty_like(slabs, dtype=torch.float32)
    _write(slabs, scales, element, clip, out, False, None, k)
    return out


def fake(
    slabs: Tensor,
    scales: Scales,
    element: Element,
    clip: bool,
    out: Tensor,
    largest: float | None,
    k: int | None = None,
) -> None:
    """Write fake-quantized values to `out` (shape and dtype of `slabs`), clamped to ±largest if given."""
    _write(slabs, scales, element, clip, out, True, largest, k)


def cast(slabs: Tensor, element: FloatElement, out: Tensor) -> None:
    """Write numbers rounded to an element of 16 or 32 bits, without a scale and saturating, to `out`."""
    _backend(slabs).cast(slabs, element, out)


def diffuse(x: Tensor, scales: Scales, element: Element, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Round the columns of `x` one after the other, and take from each that follows a share of the error.

    The error of column j is (x_j - value_j) / weights_jj, and x_i loses weights_ji times that, for all i > j.

    x: float32 [G, N, k], overwritten. scales: of its G * N rows. weights: float32 [G, k, k]. Returns elements, relative
    to the zero point, the values that they stand for, and errors, all [G, N, k].
    """
    found: tuple[Tensor, Tensor, Tensor] = _backend(x).diffuse(x, scales.total, scales.zero_point, element, weights)
    return found


def result(slabs: Tensor, room: Tensor | None) -> Tensor:
    """A tensor like `slabs` for a result, in the memory of `room` unless that is memory of `slabs` itself."""
    if room is None or room.data_ptr() == slabs.data_ptr():  # numbers may be read again after something was written
        return torch.empty_like(slabs)
    return room.view(-1)[: slabs.numel()].view(slabs.shape)


def _write(
    slabs: Tensor,
    scales: Scales,
    element: Element,
    clip: bool,
    out: Tensor,
    rescale: bool,
    largest: float | None,
    k: int | None,
) -> None:
    k = k or slabs.shape[1]
    how = Rounding(element, scales.total, scales.zero_point, clip, rescale, largest)
    _backend(slabs).fake(slabs, k, how, out)


def _backend(x: Tensor) -> ModuleType:
    return compiled if compiled.takes(x) else reference
