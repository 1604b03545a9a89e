"""Modes of a compute unit, one per format pair: products per cycle, alignment and accumulator, with bit widths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from codesign.errors import InputError
from codesign.formats import FloatElement, FormatPair, get_format
from codesign.formats.elements import FP16, FP32
from codesign.hardware.arithmetic.accumulators import Accumulator, resolve_accumulator
from codesign.hardware.arithmetic.operands import operands

WIDEST_EXACT = 128  # bits of an exact accumulator; bf16 would take more than 500
GROUP_WINDOW = 25  # bits of the aligned sum over the block sums of one step


@dataclass(frozen=True)
class Side:
    """One operand of a mode, as seen by the datapath."""

    element: FloatElement | None  # the minifloat; None for integers
    bits: int  # code width at the port; one more with a zero point, which is subtracted before
    significand: int  # bits of the multiplier's input
    lowest: int  # smallest and largest effective exponent of a minifloat; 0 for integers
    highest: int
    exponent_offset: int  # effective exponent + exponent_offset = exponent of the significand's lowest bit
    scale: FloatElement | None  # element type of the block scale; None without
    block: int  # elements per block scale; 0 without

    @classmethod
    def of(cls, name: str) -> Side:
        form = get_format(name)
        element, scaling = form.element, form.scaling
        block = (scaling.block or 0) if scaling is not None else 0
        scale = scaling.scale if scaling is not None and block else None
        if isinstance(element, FloatElement):
            highest = (1 << element.exponent_bits) - 1
            offset = -element.bias - element.mantissa_bits
            return cls(element, element.bits, element.mantissa_bits + 1, 1, highest, offset, scale, block)
        bits = element.bits + int(form.has_zero_point)
        return cls(None, bits, bits, 0, 0, -element.fraction_bits, scale, block)


@dataclass(frozen=True)
class Mode:
    """A format pair on a unit of `lanes` lanes, with `rate` products per lane and cycle."""

    pair: FormatPair
    accumulator: Accumulator
    lanes: int
    rate: int = 1

    @cached_property
    def weight(self) -> Side:
        return Side.of(self.pair.weight)

    @cached_property
    def activation(self) -> Side:
        return Side.of(self.pair.activation)

    @property
    def products(self) -> int:
        """Products per step."""
        return self.lanes * self.rate

    @property
    def product_bits(self) -> int:
        return self.weight.significand + self.activation.significand

    @property
    def is_integer(self) -> bool:
        return self.weight.element is None and self.activation.element is None

    @property
    def exponent_range(self) -> int:
        """Largest minus smallest exponent of a product."""
        sides = (self.weight, self.activation)
        return sum(side.highest - side.lowest for side in sides)

    @property
    def fixed_bits(self) -> int:
        """Bits of a product's magnitude in fixed point, over the whole exponent range."""
        return self.product_bits + self.exponent_range

    @property
    def is_aligned(self) -> bool:
        """Whether products are aligned to the largest exponent of the step, which may drop low bits."""
        kind = self.accumulator.kind
        return kind == "float" and self.products > 1 and self.accumulator.window < self.fixed_bits

    @property
    def is_direct(self) -> bool:
        """Whether there is one floating-point product per step, which needs no alignment."""
        return self.accumulator.kind == "float" and self.products == 1

    @property
    def field(self) -> int:
        """Bits of one summand's magnitude in the adder tree."""
        if self.is_integer or self.is_direct:
            return self.product_bits
        return self.accumulator.window if self.is_aligned else self.fixed_bits

    @property
    def exponent_offset(self) -> int:
        """Exponent of a product's lowest bit at effective exponent 0."""
        return self.weight.exponent_offset + self.activation.exponent_offset

    @property
    def block(self) -> int:
        """Products per pair of block scales; 0 without block scales."""
        blocks = [side.block for side in (self.weight, self.activation) if side.block]
        return min(blocks) if blocks else 0

    @property
    def groups(self) -> int:
        """Block sums per step."""
        return max(1, self.products // self.block) if self.block else 1

    @property
    def scale_bits(self) -> int:
        """Bits by which the significands of the scales widen a block sum."""
        scales = [side.scale for side in (self.weight, self.activation) if side.scale is not None]
        return sum(scale.mantissa_bits + 1 for scale in scales if scale.mantissa_bits)

    @property
    def float_element(self) -> FloatElement | None:
        """Type of the floating-point accumulator; None if the accumulator is fixed-point."""
        return {24: FP32, 11: FP16}.get(self.accumulator.significand)

    @property
    def fixed_accumulator(self) -> int:
        """Bits of the two's complement accumulator; 0 if the accumulator is floating-point."""
        return 0 if self.float_element else self.accumulator.bits


def resolve_modes(pairs: Sequence[FormatPair], accumulator: str, lanes: int, rates: Sequence[int]) -> list[Mode]:
    """The modes of a unit; raises InputError for one that cannot be built."""
    modes = []
    for pair, rate in zip(pairs, rates, strict=True):
        resolved = resolve_accumulator(accumulator, *operands(pair))
        mode = Mode(pair, resolved, lanes, rate)
        if resolved.kind == "exact" and mode.fixed_bits > WIDEST_EXACT:
            raise InputError(
                f"an exact accumulator of {pair} takes {mode.fixed_bits} bits and more, beyond {WIDEST_EXACT}: "
                "take fp32 or aligned25"
            )
        if len(pairs) > 1 and mode.groups > 1:
            raise InputError(
                f"a unit of several formats sums one block per cycle: {pair} has blocks of {mode.block}, "
                f"this unit computes {mode.products} products per cycle"
            )
        modes.append(mode)
    return modes
