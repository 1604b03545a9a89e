"""Rounding to an element's nearest value, ties to even, in float32 arithmetic on any device.

Adding and subtracting ``1.5 * 2**(23 - m) * 2**e`` leaves a float32 of exponent e with m fraction
bits: the adder rounds to nearest, ties to even. With the number's own e this rounds normal numbers, with e = emin
subnormals, and with one constant for all numbers it rounds to integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from codesign.formats.elements import Element, FloatElement, IntElement
from codesign.formats.tabulated import Tabulated

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    from codesign.lazy import torch


@dataclass(frozen=True, slots=True)
class Rounding:
    """What becomes of numbers that have scales."""

    element: Element
    scale: Tensor  # what they are divided by, float32 [groups, 1, inner] or of one element
    zero_point: Tensor | None  # like scale
    clip: bool  # whether they may lie outside of the element's range by more than rounding
    rescale: bool  # whether results are multiplied by their scale
    largest: float | None  # results are clamped to ± this; None: they are not


def round_elements_(y: Tensor, element: Element, scratch: Tensor) -> None:
    """Round `y` (float32, at most half a step outside the element's range) in place; NaN stays NaN.

    scratch: float32 of y's shape, overwritten. Zeros become positive; the caller restores the sign of a minifloat.
    """
    if isinstance(element, Tabulated):
        y.copy_(element.round(y))
        return
    if isinstance(element, IntElement):
        magic = 1.5 * 2.0**23 * element.step
        y.add_(magic).sub_(magic)
        return
    torch.bitwise_and(y.view(torch.int32), 0x7F800000, out=scratch.view(torch.int32))  # 2**floor(log2 |y|)
    if element.subnormals:
        scratch.clamp_min_(2.0**element.emin)
    else:  # the step below the smallest normal number is this number itself
        scratch.masked_fill_(scratch < 2.0**element.emin, 2.0 ** (element.emin + element.mantissa_bits))
    magic = 1.5 * 2.0 ** (23 - element.mantissa_bits)
    y.add_(scratch, alpha=magic).sub_(scratch, alpha=magic)


def round_to(element: IntElement | FloatElement, x: Tensor) -> Tensor:
    """`x` (float32) rounded to `element`, saturating at its largest finite value; NaN and signed zeros are kept."""
    y = x.clamp(-element.max_value, element.max_value)
    if isinstance(element, FloatElement) and element.native:
        return y.to(element.native[0]).float()
    round_elements_(y, element, torch.empty_like(y))
    return torch.copysign(y, x)
