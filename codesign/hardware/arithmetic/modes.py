"""Modes of a compute unit, one per format pair: products per cycle, alignment and accumulator, with bit widths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from codesign.errors import InputError
from codesign.formats import Element, FloatElement, FormatPair, IntElement, get_format
from codesign.formats.elements import FP16, FP32
from codesign.formats.scaling import ScaleElement
from codesign.formats.tabulated import CodebookElement, LogElement
from codesign.hardware.arithmetic.accumulators import Accumulator, resolve_accumulator
from codesign.hardware.arithmetic.operands import operands

WIDEST_EXACT = 128  # bits of an exact accumulator; bf16 would take more than 500
GROUP_WINDOW = 25  # bits of the aligned sum over the block sums of one step


@dataclass(frozen=True)
class Side:
    """One operand of a mode, as seen by the datapath."""

    element: Element
    bits: int  # code width at the port; one more with a zero point, which is subtracted before
    significand: int  # bits of the multiplier's input: with a hidden bit, an antilogarithm, or a number of a codebook
    lowest: int  # smallest and largest effective exponent of a minifloat or logarithm; 0 for integers
    highest: int
    exponent_offset: int  # effective exponent + exponent_offset = exponent of the significand's lowest bit
    scale: ScaleElement | None  # element type of the block scale; None without
    block: int  # elements per block scale; 0 without

    @classmethod
    def of(cls, name: str) -> Side:
        form = get_format(name)
        element, scaling = form.element, form.scaling
        block = (scaling.block or 0) if scaling is not None else 0
        scale = scaling.scale if scaling is not None and block else None
        match element:
            case FloatElement():
                highest = (1 << element.exponent_bits) - 1
                offset = -element.bias - element.mantissa_bits
                return cls(element, element.bits, element.mantissa_bits + 1, 1, highest, offset, scale, block)
            case LogElement():
                highest = (1 << element.integer_bits) - 1
                offset = 1 - element.bias - element.significand
                return cls(element, element.bits, element.significand, 0, highest, offset, scale, block)
            case CodebookElement():
                return cls(element, element.bits, element.significand, 0, 0, 0, scale, block)
            case IntElement():
                bits = element.bits + int(form.has_zero_point)
                return cls(element, bits, bits, 0, 0, -element.fraction_bits, scale, block)

    @property
    def is_integer(self) -> bool:
        """Whether the multiplier's input is an integer in two's complement."""
        return isinstance(self.element, (IntElement, CodebookElement))

    @property
    def scale_significand(self) -> int:
        """Bits by which the block scale multiplies a sum; 0 without one, and for a power of two."""
        if self.scale is None:
            return 0
        if isinstance(self.scale, IntElement):
            return self.scale.bits
        return self.scale.mantissa_bits + 1 if self.scale.mantissa_bits else 0

    @property
    def scale_offset(self) -> int:
        """Exponent of the block scale's lowest bit at effective exponent 0."""
        return -self.scale.bias - self.scale.mantissa_bits if isinstance(self.scale, FloatElement) else 0


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
    def is_logarithmic(self) -> bool:
        """Whether logarithms are added: there is no multiplier, and the antilogarithm of the sum is the product."""
        return all(isinstance(side.element, LogElement) for side in (self.weight, self.activation))

    @property
    def product_bits(self) -> int:
        """Bits of a product's magnitude."""
        sides = self.weight.significand, self.activation.significand
        return max(sides) if self.is_logarithmic else sum(sides)

    @property
    def is_integer(self) -> bool:
        return self.weight.is_integer and self.activation.is_integer

    @property
    def lowest(self) -> int:
        """Smallest exponent of a product."""
        return self.weight.lowest + self.activation.lowest

    @property
    def exponent_range(self) -> int:
        """Largest minus smallest exponent of a product; the sum of two fractions may carry."""
        return self.weight.highest + self.activation.highest + int(self.is_logarithmic) - self.lowest

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
        both = self.weight.exponent_offset + self.activation.exponent_offset
        if self.is_logarithmic:  # one antilogarithm in place of two
            both += min(self.weight.significand, self.activation.significand) - 1
        return both

    @property
    def block(self) -> int:
        """Products per pair of block scales; 0 without block scales."""
        return min(self.blocks, default=0)

    @property
    def blocks(self) -> list[int]:
        """The operands' block sizes, ascending."""
        return sorted(side.block for side in (self.weight, self.activation) if side.block)

    def unstraddled(self, most: int) -> list[int]:
        """The products per step, up to `most`, with which a step takes whole blocks or a whole part of one."""
        return [n for n in range(1, most + 1) if all(b % n == 0 or n % b == 0 for b in self.blocks)]

    @property
    def groups(self) -> int:
        """Block sums per step."""
        return max(1, self.products // self.block) if self.block else 1

    @property
    def scale_bits(self) -> int:
        """Bits by which the significands of the scales widen a block sum."""
        return self.weight.scale_significand + self.activation.scale_significand

    @property
    def float_element(self) -> FloatElement | None:
        """Type of the floating-point accumulator; None if the accumulator is fixed-point."""
        return {24: FP32, 11: FP16}.get(self.accumulator.significand)

    @property
    def fixed_accumulator(self) -> int:
        """Bits of the two's complement accumulator; 0 if the accumulator is floating-point."""
        return 0 if self.float_element else self.accumulator.bits


def divided(modes: Sequence[Mode]) -> list[list[Mode]]:
    """The modes of a unit by datapath in front of the accumulator: the general one, and that of narrow fast minifloats.

    Those whose products are exact in at most half the bits of the widest summand, and come faster than others, have a
    short fixed-point sum of their own: through the shifters and the normalisation of wide sums they would take twice
    the energy (reports/validation/arrangements.md).
    """
    floats = [mode for mode in modes if not mode.is_integer]
    slowest, widest = min((mode.rate for mode in floats), default=1), max((mode.field for mode in floats), default=0)
    general: list[Mode] = []
    narrow: list[Mode] = []
    for mode in modes:
        few = mode in floats and not mode.is_aligned and not mode.is_direct and 2 * mode.field <= widest
        (narrow if few and mode.rate > slowest and mode.float_element else general).append(mode)
    return [general, narrow] if narrow else [general]


def resolve_modes(pairs: Sequence[FormatPair], accumulator: str, lanes: int, rates: Sequence[int]) -> list[Mode]:
    """The modes of a unit; raises InputError for one that cannot be built."""
    modes = []
    for pair, rate in zip(pairs, rates, strict=True):
        resolved = resolve_accumulator(accumulator, *operands(pair))
        mode = Mode(pair, resolved, lanes, rate)
        blocks = mode.blocks
        if blocks and blocks[-1] % blocks[0]:
            raise InputError(f"{pair}: blocks of {blocks[0]} and of {blocks[-1]} do not fit into each other")
        if resolved.kind == "exact" and mode.fixed_bits > WIDEST_EXACT:
            raise InputError(
                f"an exact accumulator of {pair} takes {mode.fixed_bits} bits and more, beyond {WIDEST_EXACT}: "
                "take fp32 or aligned25"
            )
        if len(pairs) > 1 and mode.is_logarithmic:
            raise InputError(f"logarithms are added in a unit of one pair: {pair} shares none with other pairs")
        if len(pairs) > 1 and mode.block and mode.fixed_accumulator:
            raise InputError(f"a unit of several formats adds blocks of {pair} in floating point: take fp32 or auto")
        if len(pairs) > 1 and mode.groups > 1:
            raise InputError(
                f"a unit of several formats sums one block per cycle: {pair} has blocks of {mode.block}, "
                f"this unit computes {mode.products} products per cycle"
            )
        modes.append(mode)
    return modes
