"""Scaling of elements: which elements share a scale, the scale's own type, and the rule that determines it.

Sources: OCP Microscaling Formats 1.0 sections 5 and 6.3 (E8M0 scales, rule ``floor``); torchao
``mx_formats`` ScaleCalculationMode (``rceil``, ``even``); NVIDIA NVFP4 (two-level scales); Dai et al. 2021, VS-Quant
(arXiv:2102.04503; two levels of which the scale of a block is an integer).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from codesign.formats.elements import E8M0, FP32, Element, FloatElement, IntElement
from codesign.formats.rounding import round_to
from codesign.formats.tabulated import Tabulated

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    from codesign.lazy import torch

Granularity = Literal["slice", "token", "block"]
Rule = Literal["floor", "rceil", "even", "absmax", "absmid", "absmin", "minmax"]

ScaleElement = FloatElement | IntElement

SMALLEST_NORMAL = 2.0**-126


@dataclass(frozen=True)
class Scaling:
    """How scales are shared, stored and determined.

    Rules, with ``max`` and ``min`` of the element and ``amax``, the largest magnitude that shares a scale:
      floor   2**(floor(log2 amax) - emax): the OCP reference; clips magnitudes between max and 2**(emax+1)
      rceil   2**ceil(log2(amax / max)): never clips
      even    as floor, with amax first rounded to the element's mantissa: clips no more than rounding does
      absmax  amax / max
      absmid  amax / ((max - min) / 2): int4 maps -7.5..7.5 to -8..7, as compressed-tensors does
      absmin  amax / -min: int4 represents -8 exactly and clips at 7
      minmax  (high - low) / (max - min), with a zero point; the range always includes 0
    """

    # slice: one scale per tensor, or per slice along an axis; token: the same, and of an activation always taken from
    # the data, one per vector along the contraction; block: per `block` elements
    granularity: Granularity
    # the type that a scale is rounded to before elements are quantized with it; an unsigned integer has a tensor_scale
    scale: ScaleElement
    rule: Rule
    block: int | None = None  # group size
    tensor_scale: FloatElement | None = None  # type of a second-level scale per tensor, which multiplies the first

    @property
    def symmetric(self) -> bool:
        """Whether there is no zero point."""
        return self.rule != "minmax"

    def bits_per_element(self, element: Element) -> float:
        """Stored bits per element, including its share of the block's scale and zero point.

        Blocks are full. Scales per slice or tensor are not counted: their share depends on the tensor's shape and is
        negligible.
        """
        return float(element.bits) if self.block is None else element.bits + self.shared_bits(element) / self.block

    def shared_bits(self, element: Element) -> int:
        """Stored bits of a block besides its elements: its scale and zero point; 0 without blocks."""
        if self.block is None:
            return 0
        return self.scale.bits + (0 if self.symmetric else element.bits)

    @property
    def has_powers(self) -> bool:
        """Whether the only scales are powers of two, chosen by exponent arithmetic."""
        of_two = isinstance(self.scale, FloatElement) and not self.scale.has_zero
        return of_two and self.symmetric and self.tensor_scale is None

    def rules(self, element: Element) -> tuple[Rule, ...]:
        """The rules available for `element` with these scales, the default first."""
        if not self.symmetric:
            return ("minmax",)
        if self.has_powers:
            return ("floor", "rceil", "even")
        if isinstance(element, IntElement) and self.block is not None:
            return ("absmid", "absmax", "absmin")
        return ("absmax",)


def symmetric_scale(
    amax: Tensor, element: Element, scaling: Scaling, of_tensor: float | None = None
) -> tuple[Tensor, Tensor | None]:
    """(scale, tensor scale or None) for groups whose largest magnitudes are `amax` (float32, finite).

    Elements are divided by the product of the two. A group of zeros gets scale 1, or the smallest of its type if there
    is a tensor scale. `of_tensor`: the magnitude that sets the tensor scale, by default the largest of `amax`.
    """
    if scaling.has_powers:
        return _power_of_two(amax, element, scaling), None
    divisor = divisor_of(element, scaling.rule)
    if scaling.tensor_scale is not None:
        whole = amax.amax() if of_tensor is None else amax.new_full((), of_tensor)
        tensor = tensor_scale(whole, element, scaling)
        scale = (_divide(amax, divisor) / tensor).clamp_(scaling.scale.smallest, scaling.scale.max_value)
        return round_to(scaling.scale, scale), tensor
    return _stored(_divide(amax, divisor), scaling.scale), None


def asymmetric_scale(low: Tensor, high: Tensor, element: Element, scaling: Scaling) -> tuple[Tensor, Tensor]:
    """(scale, zero point) for groups with the range `low` .. `high` (float32, finite, low <= 0 <= high).

    The zero point is the code of 0, an integer stored as float32: ``round(-low / scale)``, clamped to the code range.
    """
    levels = element.max_value - element.min_value
    scale = _stored(_divide(high, levels) - _divide(low, levels), scaling.scale)  # high - low might overflow
    zero_point = (-low / scale).round_().clamp_(0, levels) + element.min_value
    return scale, zero_point


def _divide(x: Tensor, divisor: float) -> Tensor:
    # CUDA turns division by a Python scalar into multiplication by its reciprocal; division by a tensor is exact.
    return x / x.new_full((), divisor)


def _stored(scale: Tensor, element: ScaleElement) -> Tensor:
    """`scale` rounded to its element type; 1 for a group of zeros, never 0 otherwise."""
    zero = scale == 0
    scale = scale.clamp(max(element.smallest, SMALLEST_NORMAL), element.max_value)
    if element != FP32:
        scale = round_to(element, scale)
    return scale.masked_fill_(zero, 1.0)


def divisor_of(element: Element, rule: Rule) -> float:
    """What the largest magnitude is divided by, to find a scale by a rule that has no zero point."""
    if rule == "absmid":
        return (element.max_value - element.min_value) / 2
    return -element.min_value if rule == "absmin" else element.max_value


def tensor_scale(whole: Tensor, element: Element, scaling: Scaling) -> Tensor:
    """The outer scale of two, of a tensor with the largest magnitude `whole`."""
    largest = divisor_of(element, scaling.rule) * scaling.scale.max_value
    # times the smallest scale of a block it is still a normal float32
    return _divide(whole, largest).clamp_min(SMALLEST_NORMAL / scaling.scale.smallest)


def carry(element: Element) -> float:
    """The multiple of a power of two from which on the rule ``even`` doubles it."""
    if isinstance(element, Tabulated):  # in the middle between the largest value and the power of two above it
        return (element.max_value + 2.0 ** (element.emax + 1)) / 2
    return float(2.0**element.emax * (2 - 2.0 ** -(element.rounding_bits + 1)))


def _power_of_two(amax: Tensor, element: Element, scaling: Scaling) -> Tensor:
    """Scales by exponent arithmetic, since a float logarithm is wrong next to powers of two.

    The scale's exponent is that of `amax` minus emax, within the range of its type: that of E8M0 begins at -127 (bits
    0x00400000, a float32 subnormal). The rules ``rceil`` and ``even`` double the scale above a threshold; the products
    below are exact.
    """
    least, largest = scaling.scale.smallest, scaling.scale.max_value
    exponent = amax.contiguous().view(torch.int32).bitwise_and(0x7F800000)
    exponent.clamp_max_(254 + min(element.emax, 0) << 23)  # beyond, the scale of an element below 1 would be infinite
    scale = exponent.sub_(element.emax << 23).clamp_min_(0x00400000).view(torch.float32)
    if scaling.scale != E8M0:
        scale.clamp_(least, largest)
    if scaling.rule == "rceil":
        scale = torch.where(amax > scale * element.max_value, scale * 2, scale).clamp_max_(largest)
    elif scaling.rule == "even":
        scale = torch.where(amax >= scale * carry(element), scale * 2, scale).clamp_max_(largest)
    return scale.masked_fill_(amax == 0, 1.0)
