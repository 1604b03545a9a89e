"""From the fixed-point sums of a step to the number that a floating-point accumulator adds.

Magnitudes are multiplied by block scales, the sums of several blocks are aligned and added, and the result is
normalised. Modes may have sums of their own (`arithmetic.modes.divided`): each of them is normalised apart, so that a
narrow one has a short way, and all of it stands still in the modes of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from codesign.formats import FloatElement, IntElement
from codesign.hardware.arithmetic.modes import GROUP_WINDOW, Mode
from codesign.hardware.rtl.emit import blocks
from codesign.hardware.rtl.emit.blocks import POSITIVE, Number, ceil_log2
from codesign.hardware.rtl.emit.compress import Rows, add
from codesign.hardware.rtl.emit.expressions import Expression, constant, joined, replicated, widened, zeros
from codesign.hardware.rtl.emit.floating import Summand
from codesign.hardware.rtl.emit.lanes import Term
from codesign.hardware.rtl.emit.pipeline import Pipeline
from codesign.hardware.rtl.emit.scaled import scale_code
from codesign.hardware.rtl.emit.verilog import Module, Net


@dataclass(frozen=True)
class Sums:
    """The two's complement sums of a step, one of each group; none for a single product."""

    nets: list[Net]
    terms: Term  # of what


@dataclass(frozen=True)
class Unnormalised:
    """The sum of a step in the modes that have it; 0 in all others."""

    modes: Sequence[Mode]
    sign: Net
    magnitude: Net
    exponent: Net
    offsets: list[int]  # by one of `modes`: exponent of its lowest bit where the net `exponent` is 0

    @property
    def used(self) -> list[int]:
        """The offsets of the modes that accumulate it in floating point."""
        return [offset for offset, mode in zip(self.offsets, self.modes, strict=True) if mode.float_element]


class Normalisation:
    """Emits the way from the sums of a step to the number that a floating-point accumulator of `element` adds."""

    def __init__(
        self, m: Module, pipe: Pipeline, modes: Sequence[Mode], mode: Net | None, element: FloatElement
    ) -> None:
        self.m, self.pipe, self.modes, self.mode, self.element = m, pipe, modes, mode, element

    def summand(self, sums: Sequence[Sums]) -> Summand:
        """The number to accumulate: that one of the sums which is not 0 in the present mode."""
        scaled = []
        for each in sums:
            signs, magnitudes, exponents = [], [], []
            for index in range(len(each.nets) or 1):
                sign, magnitude = each.terms.single or blocks.absolute(self.m, each.nets[index])
                with self.m.section("scales"):
                    magnitude, exponent = self.scaled(magnitude, index, each.terms)
                signs.append(sign)
                magnitudes.append(magnitude)
                exponents.append(exponent)
            scaled.append((signs, magnitudes, exponents))
        cut = [self.pipe("scale", *signs, *magnitudes, *exponents) for signs, magnitudes, exponents in scaled]
        found = self.normalised([self.whole(nets, each.terms) for nets, each in zip(cut, sums, strict=True)])
        sign, biased, significand = self.pipe("normalise", found.sign, found.exponent, found.significand)
        return Summand(sign, biased, significand, found.zero_at)

    def whole(self, nets: Sequence[Net], terms: Term) -> Unnormalised:
        """The sum over the groups of a step; nets: the signs of all groups, then magnitudes, then exponents."""
        count = len(nets) // 3
        signs, magnitudes, exponents = nets[:count], nets[count : 2 * count], nets[2 * count :]
        sign, magnitude, exponent, shift = signs[0], magnitudes[0], exponents[0], 0
        if count > 1:
            with self.m.section("tree"):
                sign, magnitude, exponent, shift = self.grouped(signs, magnitudes, exponents)
        offsets = [self.lowest_weight(mode, terms) - shift for mode in terms.modes]
        return Unnormalised(terms.modes, sign, magnitude, exponent, offsets)

    def scaled(self, magnitude: Net, group: int, terms: Term) -> tuple[Net, Net]:
        """A block sum times its scales: (magnitude, exponent relative to the lowest weight of the mode)."""
        m, exponent = self.m, terms.exponent
        addends = [] if exponent is None else [exponent]
        most = 0 if exponent is None else (1 << exponent.width) - 1
        for port, side in (("ws", "weight"), ("as", "activation")):
            if port + "0" not in self.pipe.controls:
                continue
            numbers = [self.scale_number(mode, side, group) if mode in terms.modes else None for mode in self.modes]
            if not any(numbers):
                continue
            bits = max((n.exponent.width for n in numbers if n is not None and n.exponent is not None), default=0)
            if bits:
                choices = [
                    widened(n.exponent, n.exponent.width, bits) if n and n.exponent else zeros(bits) for n in numbers
                ]
                addends.append(m.wire(bits, m.select(self.mode, choices, bits), "scale_exp"))
                most += (1 << bits) - 1
            width = max(n.significand.width for n in numbers if n is not None)
            if width > 1:
                choices = [
                    widened(n.significand, n.significand.width, width) if n else constant(1, width) for n in numbers
                ]
                significand = m.wire(width, m.select(self.mode, choices, width), "scale_sig")
                rows = Rows(self.m, magnitude.width + width)
                rows.product(magnitude, significand, False, False)
                magnitude = add(m, rows, "scaled")
        width = max(most.bit_length(), 1)
        total, *others = [widened(addend, addend.width, width) for addend in addends] or [zeros(width)]
        for addend in others:
            total = total + addend
        return magnitude, m.wire(width, total, "exp")

    def scale_number(self, mode: Mode, side: str, group: int) -> Number | None:
        scale, code = getattr(mode, side).scale, scale_code(self.m, self.pipe, mode, side, group)
        if code is None:
            return None
        if isinstance(scale, IntElement):
            return Number(POSITIVE, code, None)
        if scale.signed:  # scales are positive
            self.m.ignore(code.bit(code.width - 1))
        return blocks.decode_float(self.m, code, scale)

    @staticmethod
    def lowest_weight(mode: Mode, terms: Term) -> int:
        """Exponent of the sum's lowest bit when all exponent nets are 0."""
        return terms.offset(mode) + mode.weight.scale_offset + mode.activation.scale_offset

    def grouped(
        self, signs: Sequence[Net], magnitudes: Sequence[Net], exponents: Sequence[Net]
    ) -> tuple[Net, Net, Net, int]:
        """Second aligned sum, over the groups of a step: (sign, magnitude, exponent, decrease of its origin)."""
        m = self.m
        top = blocks.maximum(m, exponents)
        rows = Rows(self.m, GROUP_WINDOW + 1 + ceil_log2(len(signs)))
        for sign, magnitude, exponent in zip(signs, magnitudes, exponents, strict=True):
            distance = m.wire(top.width, top - exponent, "dist")
            placed = blocks.shift_right(m, magnitude, GROUP_WINDOW, distance, (1 << top.width) - 1)
            rows.sign_magnitude(sign, placed)
        total = add(m, rows, "groups")
        total, top = self.pipe("group", total, top)
        sign, magnitude = blocks.absolute(m, total)
        return sign, magnitude, top, GROUP_WINDOW - magnitudes[0].width

    def normalised(self, sums: Sequence[Unnormalised]) -> Summand:
        """The sums normalised, each with its exponent biased as in the accumulator, and the one of the present mode."""
        m, bias = self.m, self.element.bias
        shifted = [blocks.normalise(m, each.magnitude) for each in sums]
        zero_at = max(0, *(1 - value - bias for each in sums for value in each.used))
        highest = max(
            max(each.used) + each.magnitude.width - 1 + bias + (1 << each.exponent.width) - 1 + zero_at for each in sums
        )
        width = max(highest + 1, (1 << self.element.exponent_bits) + zero_at).bit_length()
        exponents = []
        for each, (_, empty) in zip(sums, shifted, strict=True):
            base = [constant(value + each.magnitude.width - 1 + bias + zero_at, width) for value in each.offsets]
            start = m.select(self.mode, self.by_mode(each.modes, base), width)
            present = m.wire(1, each.magnitude.any(), "present")
            placed = widened(each.exponent, each.exponent.width, width) + start - widened(empty, empty.width, width)
            exponents.append(m.wire(width, placed.grouped() & replicated(width, present), "exp"))
        modes = [each.modes for each in sums]
        sign = self.chosen(modes, [each.sign for each in sums])
        significand = self.chosen(modes, [significand for significand, _ in shifted])
        return Summand(sign, self.chosen(modes, exponents), significand, zero_at)

    def chosen(self, modes: Sequence[Sequence[Mode]], numbers: Sequence[Net]) -> Net:
        """The number of the present mode, at the top of the bits of the widest; modes: those of each number."""
        if len(numbers) == 1:
            return numbers[0]
        width = max(number.width for number in numbers)
        full = [joined(n, zeros(width - n.width)) if n.width < width else n.expression for n in numbers]
        found = [full[next(i for i, own in enumerate(modes) if mode in own)] for mode in self.modes]
        return self.m.wire(width, self.m.select(self.mode, found, width), "chosen")

    def by_mode(self, own: Sequence[Mode], values: Sequence[Expression]) -> list[Expression]:
        """Values of some modes, which are the first one in the modes that are not among them."""
        return [values[own.index(mode)] if mode in own else values[0] for mode in self.modes]
