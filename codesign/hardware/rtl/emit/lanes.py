"""Lanes of a unit, from operand codes to summands: decoders, multipliers and alignment, by mode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import methodcaller

from codesign.formats import FloatElement, IntElement
from codesign.formats.tabulated import CodebookElement, LogElement
from codesign.hardware.arithmetic.modes import Mode, Side
from codesign.hardware.rtl.emit import blocks
from codesign.hardware.rtl.emit.blocks import Number, ceil_log2
from codesign.hardware.rtl.emit.bricks import Shared
from codesign.hardware.rtl.emit.compress import Rows, add
from codesign.hardware.rtl.emit.expressions import (
    ZERO,
    Expression,
    Value,
    concatenation,
    constant,
    joined,
    replicated,
    widened,
    zeros,
)
from codesign.hardware.rtl.emit.lookup import lookup
from codesign.hardware.rtl.emit.pipeline import Pipeline
from codesign.hardware.rtl.emit.verilog import Module, Net


@dataclass
class Term:
    """Summands of a step: functions that add one to an adder tree.

    Integer modes of a unit of several formats have summands of their own; those of the other modes are 0 meanwhile.
    """

    modes: Sequence[Mode]  # that have these summands; they are 0 in all others
    rows: list[Callable[[Rows], None]]
    integers: list[Callable[[Rows], None]]
    sum_bits: int  # width of the two's complement sum that is scaled or normalised
    integer_bits: int  # of the sum of `integers`
    exponent: Net | None  # the step's largest exponent, if summands are aligned
    groups: int  # block sums
    field: int  # bits of one summand's magnitude in the tree
    single: tuple[Net, Net] | None = None  # sign and magnitude, if a step is one product
    fast: int = 0  # the last of `rows`, which are 0 in slower modes

    def offset(self, mode: Mode) -> int:
        """Exponent of the sum's lowest bit: at exponent 0 (aligned), or absolute (fixed point, integers)."""
        if mode.is_aligned or mode.is_direct:
            return mode.exponent_offset - (self.field - mode.product_bits)
        return mode.exponent_offset + mode.lowest


def tree_bits(modes: Sequence[Mode], accumulator: int, sum_bits: int) -> int:
    """Width of the sum of a step and a fixed-point accumulator: one bit more than both where it saturates."""
    return max(accumulator, sum_bits) + 1 if any(mode.accumulator.saturates for mode in modes) else accumulator


@dataclass(frozen=True)
class Slot:
    """One product of a lane."""

    sign: Net
    product: Net
    exponent: Net
    modes: tuple[Mode, ...]  # that use it


class Lanes:
    """Emits the lanes of a unit into the module `m`, from the ports of operand codes to the summands of a step.

    own: the modes that they compute; their summands are 0 in all others.
    """

    def __init__(self, m: Module, pipe: Pipeline, modes: Sequence[Mode], mode: Net | None, own: Sequence[Mode]) -> None:
        self.m, self.pipe, self.modes, self.mode, self.own = m, pipe, modes, mode, own
        self.count = modes[0].lanes
        self.general = [mode for mode in own if not mode.is_integer]  # that the general datapath computes

    def terms(self, w: Net, a: Net, inputs: tuple[Net, Net]) -> Term:
        """inputs: the ports whose registers are w and a."""
        if self.mode is None and self.modes[0].is_integer:
            return self.integer_terms(w, a)
        return self.general_terms(w, a, inputs)

    def code(self, port: Net, side: Side, index: int) -> Net:
        return self.m.wire(side.bits, port.part((index + 1) * side.bits - 1, index * side.bits), "code")

    # -- integers in two's complement ---------------------------------------------------------------

    def integer(self, port: Net, side: Side, index: int) -> Net:
        """An operand in two's complement; a codebook's number is looked up."""
        code = self.code(port, side, index)
        if not isinstance(side.element, CodebookElement):
            return code
        mask = (1 << side.significand) - 1
        return lookup(self.m, code, [number & mask for number in side.element.by_code], side.significand)

    def integer_terms(self, w: Net, a: Net) -> Term:
        """In a unit of one mode: partial products are added in the tree directly."""
        rows: list[Callable[[Rows], None]] = []
        only = self.modes[0]
        most = only.product_bits + ceil_log2(only.products // only.groups)
        for lane in range(self.count):
            x, y = self.integer(w, only.weight, lane), self.integer(a, only.activation, lane)
            rows.append(methodcaller("product", x, y, True, True))
        if only.groups > 1:  # the summands of group g must be every groups-th function
            per = len(rows) // only.groups
            rows = [rows[g * per + i] for i in range(per) for g in range(only.groups)]
        return Term(self.own, rows, [], most, most, None, only.groups, only.product_bits)

    def shared(self, w: Net, a: Net, inputs: tuple[Net, Net]) -> Shared | None:
        """The multipliers of the integer modes of a unit of several."""
        if self.mode is None or len(self.general) == len(self.own):
            return None
        ports = (w, a) if self.general else inputs
        codes = [
            (
                self.integers(ports[0], mode.weight, mode.products),
                self.integers(ports[1], mode.activation, mode.products),
            )
            for mode in self.modes
        ]
        return Shared(self.m, self.modes, self.mode, codes, registered=bool(self.general))

    def integers(self, port: Net, side: Side, count: int) -> Net:
        """The codes of a port in two's complement; a codebook's numbers are looked up."""
        if not isinstance(side.element, CodebookElement):
            return port
        found = [self.integer(port, side, index) for index in range(count)]
        return self.m.wire(count * side.significand, concatenation(found), "numbers")

    # -- sign and magnitude -------------------------------------------------------------------------

    def general_terms(self, w: Net, a: Net, inputs: tuple[Net, Net]) -> Term:
        """Minifloats: magnitudes are multiplied, aligned and summed with their signs; integers beside them.

        A lane multiplies one pair of codes, or in fast modes several (`slots`), each on a multiplier of its own width.
        """
        m, general = self.m, self.general
        field = max((mode.field for mode in general), default=0)
        shared = self.shared(w, a, inputs)
        with m.section("multipliers"):
            slots = [slot for lane in range(self.count) for slot in self.lane(w, a, lane)] if general else []
        slots.sort(key=lambda slot: -len(slot.modes))
        fast = sum(len(slot.modes) < len(slots[0].modes) for slot in slots)
        signs, products, exponents = [s.sign for s in slots], [s.product for s in slots], [s.exponent for s in slots]
        bricks = shared.pairs() if shared else []
        n = len(slots)
        cut = self.pipe("multiply", *signs, *products, *exponents, *bricks)
        signs, products, exponents = list(cut[:n]), list(cut[n : 2 * n]), list(cut[2 * n : 3 * n])
        bricks = shared.shifted(cut[3 * n :]) if shared else []
        with m.section("alignment"):
            top = self.top_exponent(exponents, [slot.modes for slot in slots])
        fields = [self.slot_field(slot.modes, field) for slot in slots]
        with m.section("alignment"):
            placed = [
                self.placed(product, exponent, top, own, slot.modes)
                for product, exponent, own, slot in zip(products, exponents, fields, slots, strict=True)
            ]
        carried = Net("1'b0", 1)
        if top is not None:  # fixed-point and integer modes have a constant exponent instead
            own = [top if mode.is_aligned or mode.is_direct else zeros(top.width) for mode in self.modes]
            carried = m.wire(top.width, m.select(self.mode, own, top.width), "top")
        cut = self.pipe("align", *signs, *placed, *bricks, carried)
        signs, placed, bricks = list(cut[:n]), list(cut[n : 2 * n]), list(cut[2 * n : -1])
        rows_of: list[Callable[[Rows], None]] = [
            methodcaller("sign_magnitude", s, p) for s, p in zip(signs, placed, strict=True)
        ]
        groups = self.modes[0].groups
        if groups > 1:
            per = len(rows_of) // groups
            rows_of = [rows_of[g * per + i] for i in range(per) for g in range(groups)]
        integers = [mode for mode in self.own if mode.is_integer]
        integer_bits, *scaled = (
            max((mode.product_bits + ceil_log2(mode.products) for mode in some), default=0)
            for some in (integers, [mode for mode in integers if mode.float_element])
        )
        bits = (sum((1 << own) - 1 for own in fields) // groups).bit_length() + 1 if general else 0
        terms = shared.terms(bricks) if shared else []
        exponent = cut[-1] if top is not None else None
        single = (signs[0], placed[0]) if n == 1 and self.mode is None else None
        return Term(self.own, rows_of, terms, max(bits, *scaled), integer_bits, exponent, groups, field, single, fast)

    def lane(self, w: Net, a: Net, lane: int) -> list[Slot]:
        """The products of one lane: the first of all modes, each further one of the modes that are so fast."""
        m = self.m
        m.comment(f"lane {lane}")
        if self.modes[0].is_logarithmic:
            return [self.logarithmic(w, a, lane)]
        slots = []
        for k in range(max(mode.rate for mode in self.general)):
            users = tuple(mode for mode in self.general if mode.rate > k)
            x, y = (self.operand(port, side, lane, k, users) for port, side in ((w, "weight"), (a, "activation")))
            product = self.product(x.significand, y.significand)
            slots.append(Slot(m.wire(1, x.sign ^ y.sign, "sign"), product, self.exponent_sum(x, y), users))
        return slots

    def logarithmic(self, w: Net, a: Net, lane: int) -> Slot:
        """The product of two logarithmic numbers, in a unit of one mode."""
        mode = self.modes[0]
        first, second = mode.weight.element, mode.activation.element
        assert isinstance(first, LogElement)
        assert isinstance(second, LogElement)
        codes = self.code(w, mode.weight, lane), self.code(a, mode.activation, lane)
        found = blocks.multiply_logarithms(self.m, codes, (first, second))
        assert found.exponent is not None
        return Slot(found.sign, found.significand, found.exponent, (mode,))

    def operand(self, port: Net, side: str, lane: int, k: int, users: Sequence[Mode]) -> Number:
        """Operand k of a lane, selected by mode, its significand at the top of the bits of the widest.

        It is 0 in the modes that do not use it, in which the multiplier stands still.
        """
        numbers = [
            self.decoded(port, getattr(mode, side), lane * mode.rate + k) if mode in users else None
            for mode in self.modes
        ]
        sign = self.m.wire(1, self.m.select(self.mode, [n.sign if n else ZERO for n in numbers], 1), "sign")
        exponent = self.exponent(numbers)
        width = max(getattr(mode, side).significand for mode in users)
        significands = [self.at_top(n.significand, width) if n else zeros(width) for n in numbers]
        return Number(sign, self.m.wire(width, self.m.select(self.mode, significands, width), "sig"), exponent)

    def exponent(self, numbers: Sequence[Number | None]) -> Net | None:
        """The exponent of one operand, selected by mode; 0 without one."""
        bits = max((n.exponent.width for n in numbers if n and n.exponent), default=0)
        if not bits:
            return None
        codes = [widened(n.exponent, n.exponent.width, bits) if n and n.exponent else zeros(bits) for n in numbers]
        return self.m.wire(bits, self.m.select(self.mode, codes, bits), "exp")

    def product(self, x: Net, y: Net) -> Net:
        """The product of two magnitudes."""
        if min(x.width, y.width) == 1:  # powers of two: nothing is added
            one, other = (x, y) if x.width == 1 else (y, x)
            chosen = (other & replicated(other.width, one)).grouped()
            return self.m.wire(other.width + 1, joined(ZERO, chosen), "product")
        rows = Rows(self.m, x.width + y.width)
        rows.product(x, y, False, False)
        return add(self.m, rows, "product")

    def top_exponent(self, exponents: Sequence[Net], users: Sequence[Sequence[Mode]]) -> Net | None:
        """The exponent to which products are aligned; None if no mode aligns."""
        aligned = [x for x, modes in zip(exponents, users, strict=True) if any(mode.is_aligned for mode in modes)]
        if aligned:
            width = max(net.width for net in aligned)
            equal = [
                net if net.width == width else self.m.wire(width, widened(net, net.width, width), "exp")
                for net in aligned
            ]
            return blocks.maximum(self.m, equal)
        return exponents[0] if any(mode.is_direct for mode in self.modes) else None

    @staticmethod
    def slot_field(users: Sequence[Mode], field: int) -> int:
        """Bits of a slot's summand: the whole field where products are aligned, else what fixed point takes."""
        if any(mode.is_aligned or mode.is_direct for mode in users):
            return field
        return max(mode.field for mode in users)

    @staticmethod
    def at_top(net: Net, width: int) -> Expression:
        return joined(net, zeros(width - net.width)) if net.width < width else joined(net)

    def decoded(self, port: Net, side: Side, index: int) -> Number:
        code = self.code(port, side, index)
        match side.element:
            case FloatElement():
                return blocks.decode_float(self.m, code, side.element)
            case LogElement():
                return blocks.decode_logarithm(self.m, code, side.element)
            case CodebookElement():
                return blocks.decode_codebook(self.m, code, side.element)
            case IntElement():
                return blocks.decode_integer(self.m, code)

    def exponent_sum(self, x: Number, y: Number) -> Net:
        found = [n.exponent for n in (x, y) if n.exponent is not None]
        if not found:
            return Net("1'b0", 1)
        if len(found) == 1:
            return found[0]
        width = max(net.width for net in found) + 1
        first, second = (widened(net, net.width, width) for net in found)
        return self.m.wire(width, first + second, "exp")

    def placed(self, product: Net, exponent: Net, top: Net | None, field: int, users: Sequence[Mode]) -> Net:
        """The product aligned in the field: shifted right to the largest exponent, or to a constant one.

        users: the modes that use this product; it is 0 in all others, and stays where it is.
        """
        m = self.m
        most = max(self.distance(mode, field) for mode in users)
        if most == 0:
            return blocks.place(m, product, field)
        width = most.bit_length()  # of the distance; exponents may be wider
        constants = [self.origin(mode, exponent, top, field, width) if mode in users else None for mode in self.modes]
        choices = [zeros(width) if found is None else found for found in constants]
        own = self.modulo(exponent, width)
        distance = m.wire(width, m.select(self.mode, choices, width) - own, "dist")
        placed = blocks.shift_right(m, product, field, distance, most)
        return self.windowed(placed, field, users)

    @staticmethod
    def modulo(net: Net, width: int) -> Value:
        """An unsigned number modulo 2**width, `width` bits wide."""
        return net.part(width - 1, 0) if net.width > width else widened(net, net.width, width)

    def origin(self, mode: Mode, exponent: Net, top: Net | None, field: int, width: int) -> Value:
        """The exponent whose product stays at the top of the field in a mode."""
        if mode.is_aligned:
            assert top is not None
            return self.modulo(top, width)
        if mode.is_direct:
            return self.modulo(exponent, width)
        # lowest exponent at the bottom of the field
        return constant(mode.lowest + field - mode.product_bits, width)

    @staticmethod
    def distance(mode: Mode, field: int) -> int:
        """The longest shift of a mode."""
        if mode.is_aligned:
            return mode.exponent_range
        return 0 if mode.is_direct else field - mode.product_bits

    def windowed(self, placed: Net, field: int, users: Sequence[Mode]) -> Net:
        """Mask the field to the window of aligned modes, if another mode needs a wider field."""
        masks = []
        for mode in self.modes:
            lost = field - mode.accumulator.window if mode.is_aligned and mode in users else 0
            masks.append(constant(((1 << field) - 1) >> lost << lost, field))
        if all(mask == constant((1 << field) - 1, field) for mask in masks):
            return placed
        return self.m.wire(field, placed & self.m.select(self.mode, masks, field), "window")
