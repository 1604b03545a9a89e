"""Verilog of a dot-product unit: operand registers, multipliers, alignment, adder tree, scales, accumulator.

Ports: clk; en (a clock enable, if asked for); first (starts new sums); w and a, the operand codes of all products,
lowest first; ws and as, the codes of block scales; psum_in (only if partial sums pass through); mode (only with several
formats; constant while data is in flight); acc, the accumulator. The latency is that of `Built`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from codesign.formats import FormatPair
from codesign.hardware.arithmetic.modes import Mode, divided, resolve_modes
from codesign.hardware.rtl.emit import blocks
from codesign.hardware.rtl.emit.blocks import ceil_log2
from codesign.hardware.rtl.emit.compress import Rows, add, compress
from codesign.hardware.rtl.emit.expressions import Expression, Value, replicated, zeros
from codesign.hardware.rtl.emit.floating import accumulate
from codesign.hardware.rtl.emit.lanes import Lanes, Term, tree_bits
from codesign.hardware.rtl.emit.normalisation import Normalisation, Sums
from codesign.hardware.rtl.emit.pipeline import LOOP, Pipeline, interleave
from codesign.hardware.rtl.emit.scaled import scaled_sum
from codesign.hardware.rtl.emit.verilog import Module, Net, NetAssignment


@dataclass(frozen=True)
class Unit:
    """A dot-product unit with a mode per format pair. Raises InputError if the accumulator cannot hold a pair."""

    pairs: tuple[FormatPair, ...]
    accumulator: str = "auto"
    lanes: int = 1
    cuts: frozenset[str] = frozenset()  # steps that are followed by pipeline registers
    rates: tuple[int, ...] = ()  # products per lane and cycle of each mode; 1 by default
    passing: bool = False  # partial sums pass from psum_in to acc (weight-stationary) instead of staying in the unit
    modes: tuple[Mode, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        rates = self.rates or (1,) * len(self.pairs)
        object.__setattr__(self, "rates", rates)
        object.__setattr__(self, "modes", tuple(resolve_modes(self.pairs, self.accumulator, self.lanes, rates)))

    @property
    def name(self) -> str:
        pairs = "_".join(str(pair).replace(":", "_") for pair in self.pairs)
        cuts = "".join(f"_{step}" for step in sorted(self.cuts))
        rates = "" if set(self.rates) == {1} else "_x" + "_".join(map(str, self.rates))
        return f"dot{self.lanes}_{pairs}{rates}_{self.accumulator}{cuts}" + ("_passing" if self.passing else "")

    def cut(self, cuts: Collection[str]) -> Unit:
        """The same unit with other pipeline cuts."""
        return replace(self, cuts=frozenset(cuts))

    @property
    def interleave(self) -> int:
        """Number of independent sums that are interleaved."""
        return interleave(self.cuts) if any(mode.float_element for mode in self.modes) else 1

    def port_bits(self, side: str) -> int:
        """Width of port w (side "weight") or a ("activation")."""
        return max(mode.products * int(getattr(mode, side).bits) for mode in self.modes)

    def scale_port_bits(self, side: str) -> int:
        """Width of port ws or as; 0 if no mode has block scales on that side."""
        return max(
            self.scales(mode, side) * scale.bits if (scale := getattr(mode, side).scale) else 0 for mode in self.modes
        )

    @staticmethod
    def scales(mode: Mode, side: str) -> int:
        """Number of block scales per step on one side; 0 without block scales."""
        block: int = getattr(mode, side).block
        return max(1, mode.products // block) if block else 0

    @property
    def accumulator_bits(self) -> int:
        floats = [mode.float_element.bits for mode in self.modes if mode.float_element]
        return max([*floats, *(mode.fixed_accumulator for mode in self.modes)])


@dataclass(frozen=True)
class Built:
    """The Verilog of a unit."""

    unit: Unit
    text: str
    latency: tuple[int, ...]  # of each mode: clock cycles from a step at the ports to its sum at acc
    enable: bool  # whether it has a port `en`, without which registers keep their contents
    boundaries: Mapping[str, tuple[str, ...]]  # step that a cut may follow -> names of its output nets
    assignments: tuple[NetAssignment, ...]  # of every wire and register, in the order of the text


def build(unit: Unit, name: str = "unit", enable: bool = False) -> Built:
    """The unit as a module called `name`.

    enable: with a clock enable `en` of all registers, which no price includes.
    """
    datapath = _Datapath(unit, name, enable)
    latency = datapath.build()
    useful = datapath.useful_cuts()
    boundaries = {step: nets for step, nets in datapath.pipe.boundaries.items() if step in useful}
    made = datapath.m
    made.prune()
    return Built(unit, made.text(), latency, enable, boundaries, tuple(made.assignments))


class _Datapath:
    def __init__(self, unit: Unit, name: str, enable: bool) -> None:
        self.unit = unit
        self.modes = unit.modes
        self.m = Module(name, enable)

    def build(self) -> tuple[int, ...]:
        m, unit = self.m, self.unit
        first = m.input("first", 1)
        ports = {"w": m.input("w", unit.port_bits("weight")), "a": m.input("a", unit.port_bits("activation"))}
        for port, side in (("ws", "weight"), ("as", "activation")):
            if unit.scale_port_bits(side):
                ports[port] = m.input(port, unit.scale_port_bits(side))
        if unit.passing:
            ports["psum"] = m.input("psum_in", unit.accumulator_bits)
        self.mode = m.input("mode", ceil_log2(len(self.modes))) if len(self.modes) > 1 else None
        m.comment("operand registers")
        held = {port: m.register(net, port) for port, net in ports.items()}
        controls = {"first": m.register(first, "first")}
        scales = {f"{side}{i}": net for side in ("ws", "as") if side in held for i, net in [(0, held[side])]}
        if unit.passing:
            controls["psum"] = held["psum"]
        self.pipe = Pipeline(m, unit.cuts & self.useful_cuts(), controls | scales)
        accumulator = m.late(unit.accumulator_bits, "acc")
        inputs = ports["w"], ports["a"]
        lanes = [Lanes(m, self.pipe, self.modes, self.mode, own) for own in divided(self.modes)]
        terms = [each.terms(held["w"], held["a"], inputs) for each in lanes]
        with m.section("accumulator"):
            self.accumulate(accumulator, *terms)
        m.output("acc", accumulator)
        floating, fixed = 2 + self.pipe.latency, 2 + self.fixed_latency
        return tuple(floating if mode.float_element else fixed for mode in self.modes)

    def useful_cuts(self) -> set[str]:
        """The steps of this unit after which a cut has an effect."""
        steps = {"reduce"}
        if any(not mode.is_integer or mode.accumulator.kind != "integer" for mode in self.modes) or self.mode:
            steps |= {"multiply", "align"}
        if any(mode.float_element for mode in self.modes):
            steps |= {"sum", "scale", "normalise", *LOOP}
            if len(self.modes) == 1 and self.modes[0].products == 1:  # nothing to sum
                steps -= {"reduce", "sum"}
        if any(mode.block and mode.fixed_accumulator for mode in self.modes):
            steps |= {"sum", "scale"}
        elif any(mode.groups > 1 for mode in self.modes):
            steps.add("group")
        return steps

    @property
    def saturates(self) -> bool:
        """Whether the fixed-point accumulator saturates."""
        return any(mode.accumulator.saturates for mode in self.modes)

    # -- sums ---------------------------------------------------------------------------------------

    def accumulate(self, accumulator: Net, terms: Term, *narrow: Term) -> None:
        """Add the summands of a step to the accumulator, fixed-point or floating-point by mode.

        narrow: those that have a fixed-point sum of their own, but no fixed-point accumulator.
        """
        width = self.unit.accumulator_bits
        if not any(mode.float_element for mode in self.modes):
            found = self.fixed_next(accumulator, terms, width)
            self.fixed_latency = self.pipe.latency
        elif not terms.integers and all(mode.float_element for mode in self.modes):
            self.fixed_latency = self.pipe.latency
            found = self.float_next(accumulator, [self.group_sums(each) for each in (terms, *narrow)])
        else:
            found = self.next_by_mode(accumulator, terms, narrow, width)
        self.m.drive(accumulator, found)

    def next_by_mode(self, accumulator: Net, terms: Term, narrow: Sequence[Term], width: int) -> Net:
        """The next sum, fixed-point in some modes; integers and other products have a tree each."""
        fixed = [bool(mode.fixed_accumulator) for mode in self.modes]
        whole = tree_bits(self.modes, width, max(terms.sum_bits, terms.integer_bits))
        pairs: dict[bool, tuple[Net, Net]] = {}
        for integer, summands, fast in ((True, terms.integers, 0), (False, terms.rows, terms.fast)):
            own = [mode for mode in terms.modes if mode.is_integer == integer]
            if own:
                bits = [whole if mode.fixed_accumulator else terms.sum_bits for mode in own]
                pairs[integer] = self.tree(summands, max(bits), fast)
        cut = self.pipe("reduce", *(net for pair in pairs.values() for net in pair), terms.exponent or Net("1'b0", 1))
        pairs = {integer: (cut[2 * i], cut[2 * i + 1]) for i, integer in enumerate(pairs)}
        self.fixed_latency = self.pipe.latency
        nexts = {}
        if any(fixed):
            nexts[True] = self.fixed_sum(accumulator, self.chosen(pairs, fixed, whole), whole, width, fixed)
        with self.m.section("tree"):
            first, second = self.chosen(pairs, [not mode for mode in fixed], terms.sum_bits)
            total = self.m.wire(terms.sum_bits, first + second, "sum")
        total, top = self.pipe("sum", total, cut[-1])
        terms.exponent = top if terms.exponent else None
        sums = [Sums([total], terms), *(self.group_sums(each) for each in narrow)]
        nexts[False] = self.float_next(accumulator, sums)
        return self.m.wire(width, self.m.select(self.mode, [nexts[mode] for mode in fixed], width), "next")

    def chosen(self, pairs: Mapping[bool, tuple[Net, Net]], wanted: Sequence[bool], width: int) -> list[Net]:
        """Two rows with the sum of a step in the modes that are wanted; they stand still in all others.

        pairs: rows of the integer modes, and of the others; each pair stands still in the modes of the other.
        """
        used, unwanted = (
            {mode.is_integer for mode, want in zip(self.modes, wanted, strict=True) if want == some}
            for some in (True, False)
        )
        if len(used) == 1 and not used & unwanted:
            return [self.low(net, width) for net in pairs[used.pop()]]
        choices = [
            [self.low(net, width) for net in pairs[mode.is_integer]] if want else [zeros(width)] * 2
            for mode, want in zip(self.modes, wanted, strict=True)
        ]
        rows = zip(*choices, strict=True)
        return [self.m.wire(width, self.m.select(self.mode, row, width), "chosen") for row in rows]

    def low(self, net: Net, width: int) -> Net:
        return self.m.wire(width, net.part(width - 1, 0), "low") if net.width > width else net

    def source(self, accumulator: Net, modes: Sequence[bool] = ()) -> Expression:
        """The previous sum, 0 at a first step: the accumulator or the passing partial sum.

        modes: those that use the sum, if not all do; it is 0 in the others.
        """
        kept = self.pipe.controls["psum"] if self.unit.passing else accumulator
        keep: Value = ~self.pipe.controls["first"]
        if not all(modes):
            keep = self.m.wire(1, keep.expression & self.m.in_modes(self.mode, modes), "keep")
        return (kept & replicated(accumulator.width, keep)).grouped()

    def tree(
        self,
        summands: Sequence[Callable[[Rows], None]],
        width: int,
        fast: int = 0,
        title: str = "carry-save tree over all products",
    ) -> tuple[Net, Net]:
        """The sum of a step as two rows, modulo 2**width.

        fast: the last summands, which are 0 in slower modes and are added apart, so that their adders stand still then.
        """
        slow = len(summands) - fast
        rows, apart = Rows(self.m, width), Rows(self.m, width)
        with self.m.section("multipliers"):
            for place, summand in enumerate(summands):
                summand(rows if place < slow else apart)
        self.m.comment(title)
        with self.m.section("tree"):
            if not fast:
                return compress(self.m, rows)
            rows.constant, apart.constant = rows.constant + apart.constant, 0
            both = Rows(self.m, width)
            for net in (*compress(self.m, rows), *compress(self.m, apart)):
                both.unsigned(net)
            return compress(self.m, both)

    def fixed_next(self, accumulator: Net, terms: Term, width: int) -> Net:
        """Products and accumulator in one carry-save tree and one adder, without sign extension."""
        only, own = self.modes[0], max(terms.sum_bits, terms.integer_bits)
        if only.block:  # in a unit of one mode, whose scales are integers
            whole = tree_bits(self.modes, width, own + only.scale_bits + ceil_log2(only.groups))
            pair = scaled_sum(self.m, self.pipe, only, self.group_sums(terms).nets, whole)
        else:
            whole = tree_bits(self.modes, width, own)
            pair = self.pipe("reduce", *self.tree([*terms.rows, *terms.integers], whole))
        return self.fixed_sum(accumulator, pair, whole, width)

    def fixed_sum(
        self, accumulator: Net, pair: Sequence[Net], whole: int, width: int, modes: Sequence[bool] = ()
    ) -> Net:
        """The next fixed-point sum from the rows of a step; modes: those that use it, if not all do."""
        final = Rows(self.m, whole)
        for net in pair:
            final.unsigned(net)
        kept = self.m.wire(width, self.source(accumulator, modes), "kept")
        if not self.saturates:
            final.unsigned(kept)
            return add(self.m, final, "next")
        final.signed(kept)
        return blocks.saturated(self.m, add(self.m, final, "sum"), width)

    def group_sums(self, terms: Term) -> Sums:
        """The two's complement sum of each group."""
        if terms.single:
            return Sums([], terms)
        pairs: list[Net] = []
        sums: list[Net] = []
        for index in range(terms.groups):
            pairs += self.tree(terms.rows[index :: terms.groups], terms.sum_bits, terms.fast, f"tree of group {index}")
        *cut, exponent = self.pipe("reduce", *pairs, terms.exponent or Net("1'b0", 1))
        with self.m.section("tree"):
            for index in range(terms.groups):
                sums.append(self.m.wire(terms.sum_bits, cut[2 * index] + cut[2 * index + 1], "sum"))
        *sums, exponent = self.pipe("sum", *sums, exponent)
        terms.exponent = exponent if terms.exponent else None
        return Sums(sums, terms)

    def float_next(self, accumulator: Net, sums: Sequence[Sums]) -> Net:
        """The next floating-point sum from those of a step, of which one is not 0 in each mode."""
        element = next(mode.float_element for mode in self.modes if mode.float_element)
        summand = Normalisation(self.m, self.pipe, self.modes, self.mode, element).summand(sums)
        in_float = [bool(mode.float_element) for mode in self.modes]
        kept = self.m.wire(element.bits, self.source(accumulator, in_float), "kept")
        return accumulate(self.m, self.pipe, kept, summand, element)
