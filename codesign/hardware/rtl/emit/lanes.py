"""Lanes of a unit, from operand codes to summands: decoders, multipliers and alignment, by mode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import methodcaller

from codesign.hardware.arithmetic.modes import Mode, Side
from codesign.hardware.rtl.emit import blocks
from codesign.hardware.rtl.emit.blocks import Number, ceil_log2
from codesign.hardware.rtl.emit.bricks import Shared
from codesign.hardware.rtl.emit.compress import Rows, add
from codesign.hardware.rtl.emit.expressions import (
    ONE,
    ZERO,
    Expression,
    Value,
    constant,
    joined,
    replicated,
    widened,
    zeros,
)
from codesign.hardware.rtl.emit.pipeline import Pipeline
from codesign.hardware.rtl.emit.verilog import Module, Net


@dataclass
class Term:
    """Summands of a step."""

    rows: list[Callable[[Rows], None]]  # functions that add a summand to an adder tree
    sum_bits: int  # width of the two's complement sum
    exponent: Net | None  # the step's largest exponent, if summands are aligned
    groups: int  # block sums
    field: int  # bits of one summand's magnitude in the tree

    def offset(self, mode: Mode) -> int:
        """Exponent of the sum's lowest bit: at exponent 0 (aligned), or absolute (fixed point, integers)."""
        if mode.is_aligned or mode.is_direct:
            return mode.exponent_offset - (self.field - mode.product_bits)
        return mode.exponent_offset + mode.weight.lowest + mode.activation.lowest


class Lanes:
    """Emits the lanes of a unit into the module `m`, from the ports of operand codes to the summands of a step."""

    def __init__(self, m: Module, pipe: Pipeline, modes: Sequence[Mode], mode: Net | None) -> None:
        self.m, self.pipe, self.modes, self.mode = m, pipe, modes, mode
        self.count = modes[0].lanes

    def terms(self, w: Net, a: Net) -> Term:
        if all(mode.accumulator.kind == "integer" for mode in self.modes):
            return self.integer_terms(w, a)
        return self.general_terms(w, a)

    def code(self, port: Net, side: Side, index: int) -> Net:
        return self.m.wire(side.bits, port.part((index + 1) * side.bits - 1, index * side.bits), "code")

    # -- integers in two's complement ---------------------------------------------------------------

    def integer_terms(self, w: Net, a: Net) -> Term:
        """Partial products are added in the tree directly; several modes share sub-multipliers (bricks)."""
        rows: list[Callable[[Rows], None]] = []
        groups = self.modes[0].groups
        most = max(mode.product_bits + ceil_log2(mode.products // groups) for mode in self.modes)
        if self.mode is None:
            only = self.modes[0]
            for lane in range(self.count):
                x, y = self.code(w, only.weight, lane), self.code(a, only.activation, lane)
                rows.append(methodcaller("product", x, y, True, True))
        else:
            floating = any(mode.float_element for mode in self.modes)
            width = most if floating else max(mode.fixed_accumulator for mode in self.modes)
            rows += Shared(self.m, self.pipe, self.modes, self.mode, (w, a)).terms(width)
        if groups > 1:  # the summands of group g must be every groups-th function
            per = len(rows) // groups
            rows = [rows[g * per + i] for i in range(per) for g in range(groups)]
        return Term(rows, most, None, groups, max(mode.product_bits for mode in self.modes))

    # -- sign and magnitude -------------------------------------------------------------------------

    def general_terms(self, w: Net, a: Net) -> Term:
        """Minifloats, also with integers: magnitudes are multiplied, aligned and summed with their signs."""
        m, modes = self.m, self.modes
        width_w = max(mode.weight.significand for mode in modes)
        width_a = max(mode.activation.significand for mode in modes)
        field = max(mode.field for mode in modes)
        signs, products, exponents = [], [], []
        for lane in range(self.count):
            m.comment(f"lane {lane}")
            x, y = self.operand(w, "weight", lane, width_w), self.operand(a, "activation", lane, width_a)
            signs.append(m.wire(1, x.sign ^ y.sign, "sign"))
            rows = Rows(self.m, width_w + width_a)
            rows.product(x.significand, y.significand, False, False)
            products.append(add(m, rows, "product"))
            exponents.append(self.exponent_sum(x, y))
        extra = self.brick_terms(w, a)
        n = self.count
        cut = self.pipe("multiply", *signs, *products, *exponents, *extra)
        signs, products, exponents, extra = (
            list(cut[:n]),
            list(cut[n : 2 * n]),
            list(cut[2 * n : 3 * n]),
            list(cut[3 * n :]),
        )
        top = blocks.maximum(m, exponents) if any(mode.is_aligned for mode in modes) else None
        if top is None and any(mode.is_direct for mode in modes):
            top = exponents[0]
        placed = [
            self.placed(product, exponent, top, field) for product, exponent in zip(products, exponents, strict=True)
        ]
        carried = Net("1'b0", 1)
        if top is not None:  # fixed-point and integer modes have a constant exponent instead
            own = [top if mode.is_aligned or mode.is_direct else zeros(top.width) for mode in modes]
            carried = m.wire(top.width, m.select(self.mode, own, top.width), "top")
        cut = self.pipe("align", *signs, *placed, *extra, carried)
        signs, placed, extra = list(cut[:n]), list(cut[n : 2 * n]), list(cut[2 * n : -1])
        rows_of: list[Callable[[Rows], None]] = [
            methodcaller("sign_magnitude", s, p) for s, p in zip(signs, placed, strict=True)
        ]
        rows_of += [methodcaller("signed", net) for net in extra]
        groups = modes[0].groups
        if groups > 1:
            per = len(rows_of) // groups
            rows_of = [rows_of[g * per + i] for i in range(per) for g in range(groups)]
        summed = self.count // groups
        bits = field + ceil_log2(summed) + 1
        for mode in modes:
            if mode.rate > 1:
                bits = max(bits, mode.product_bits + ceil_log2(mode.products) + 1)
        return Term(rows_of, bits, cut[-1] if top is not None else None, groups, field)

    def operand(self, port: Net, side: str, lane: int, width: int) -> Number:
        """One operand, selected by mode: significand at the top of `width` bits; 0 for modes with rate above 1."""
        numbers = [self.decoded(port, getattr(mode, side), lane) if mode.rate == 1 else None for mode in self.modes]
        bits = max((n.exponent.width for n in numbers if n and n.exponent), default=0)
        signs = [n.sign if n else ZERO for n in numbers]
        significands = [self.at_top(n.significand, width) if n else zeros(width) for n in numbers]
        sign = self.m.wire(1, self.m.select(self.mode, signs, 1), "sign")
        significand = self.m.wire(width, self.m.select(self.mode, significands, width), "sig")
        exponent = None
        if bits:
            codes = [widened(n.exponent, n.exponent.width, bits) if n and n.exponent else zeros(bits) for n in numbers]
            exponent = self.m.wire(bits, self.m.select(self.mode, codes, bits), "exp")
        return Number(sign, significand, exponent)

    @staticmethod
    def at_top(net: Net, width: int) -> Expression:
        return joined(net, zeros(width - net.width)) if net.width < width else joined(net)

    def decoded(self, port: Net, side: Side, index: int) -> Number:
        code = self.code(port, side, index)
        return (
            blocks.decode_integer(self.m, code)
            if side.element is None
            else blocks.decode_float(self.m, code, side.element)
        )

    def exponent_sum(self, x: Number, y: Number) -> Net:
        found = [n.exponent for n in (x, y) if n.exponent is not None]
        if not found:
            return Net("1'b0", 1)
        if len(found) == 1:
            return found[0]
        self.m.uses("carry_propagate", max(net.width for net in found))
        width = max(net.width for net in found) + 1
        first, second = (widened(net, net.width, width) for net in found)
        return self.m.wire(width, first + second, "exp")

    def placed(self, product: Net, exponent: Net, top: Net | None, field: int) -> Net:
        """The product aligned in the field: shifted right to the largest exponent, or to a constant one."""
        m = self.m
        constants: list[Value] = []
        most = max(self.distance(mode, field) for mode in self.modes)
        if most == 0:
            return blocks.place(m, product, field)
        width = max(most.bit_length(), exponent.width)
        for mode in self.modes:
            if mode.is_aligned:
                assert top is not None
                constants.append(widened(top, top.width, width))
            elif mode.is_direct:
                constants.append(widened(exponent, exponent.width, width))
            else:  # lowest exponent at the bottom of the field
                start = mode.weight.lowest + mode.activation.lowest + field - mode.product_bits
                constants.append(constant(start, width))
        m.uses("carry_propagate", width)
        own = widened(exponent, exponent.width, width)
        distance = m.wire(width, m.select(self.mode, constants, width) - own, "dist")
        placed = blocks.shift_right(m, product, field, distance, most)
        return self.windowed(placed, field)

    @staticmethod
    def distance(mode: Mode, field: int) -> int:
        """The longest shift of a mode."""
        if mode.is_aligned:
            return mode.exponent_range
        return 0 if mode.is_direct else field - mode.product_bits

    def windowed(self, placed: Net, field: int) -> Net:
        """Mask the field to the window of aligned modes, if another mode needs a wider field."""
        masks = []
        for mode in self.modes:
            lost = field - mode.accumulator.window if mode.is_aligned else 0
            masks.append(constant(((1 << field) - 1) >> lost << lost, field))
        if all(mask == constant((1 << field) - 1, field) for mask in masks):
            return placed
        return self.m.wire(field, placed & self.m.select(self.mode, masks, field), "window")

    def brick_terms(self, w: Net, a: Net) -> list[Net]:
        """Products of the modes with a rate above 1: integers on multipliers of their own."""
        fast = [mode for mode in self.modes if mode.rate > 1]
        return [net for mode in fast for net in self.fast_products(w, a, mode)]

    def fast_products(self, w: Net, a: Net, mode: Mode) -> list[Net]:
        active = self.m.wire(
            1,
            self.mode.equals(constant(list(self.modes).index(mode), self.mode.width)) if self.mode else ONE,
            "active",
        )
        found = []
        for index in range(mode.products):
            x, y = (
                self.m.wire(side.bits, self.code(port, side, index) & replicated(side.bits, active), "fast")
                for port, side in ((w, mode.weight), (a, mode.activation))
            )
            rows = Rows(self.m, mode.product_bits)
            rows.product(x, y, True, True)
            found.append(add(self.m, rows, "product"))
        return found
