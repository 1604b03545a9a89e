"""Integer multipliers that several modes share, summed before they are shifted.

A wide product is made of sub-multipliers (bricks), each of which makes a product of its own in a narrow mode. Bricks
that every mode shifts alike form a group, which is summed over all lanes and then shifted once, as in BitBlade (Ryu et
al., DAC 2019), instead of each brick by itself, as in Bit Fusion (Sharma et al., ISCA 2018). Bricks are signed or
unsigned by mode: partial products of negative weight are inverted by mode, and one constant per group corrects them
(Baugh and Wooley, 1973), so that no operand is widened by a sign.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import methodcaller

from codesign.hardware.arithmetic.modes import Mode, Side
from codesign.hardware.rtl.emit import blocks
from codesign.hardware.rtl.emit.compress import Rows, compress
from codesign.hardware.rtl.emit.expressions import ZERO, Value, concatenation, joined, replicated, zeros
from codesign.hardware.rtl.emit.pipeline import Pipeline
from codesign.hardware.rtl.emit.verilog import Module, Net

SIDES = ("weight", "activation")


@dataclass(frozen=True)
class Chunk:
    """Bits of a code, from `low` on; the highest chunk of a code has its sign."""

    low: int  # of the code, or of the port
    bits: int
    signed: bool

    @property
    def range(self) -> tuple[int, int]:
        half = 1 << self.bits - 1
        return (-half, half - 1) if self.signed else (0, 2 * half - 1)


@dataclass(frozen=True)
class Use:
    """What a brick multiplies in one mode, and how far its product is shifted."""

    chunks: tuple[Chunk, Chunk] | None  # of the ports of weights and activations; None: nothing
    shift: int


Place = tuple[int, int, int]  # lane, chunk of the weight, chunk of the activation


def bricks(modes: Sequence[Mode], side: str) -> tuple[int, int]:
    """(number of chunks, bits per chunk) of the multiplier's operand, as narrower modes use sub-multipliers."""
    widest = max(getattr(mode, side).significand for mode in modes)
    if all(mode.rate == 1 for mode in modes):
        return 1, widest
    half = -(-widest // 2)
    narrow = any(mode.rate > 1 and getattr(mode, side).significand <= half for mode in modes)
    return (2, half) if narrow else (1, widest)


def uses(modes: Sequence[Mode]) -> list[tuple[Use, ...]]:
    """The uses by mode of every brick of all lanes.

    The products of narrow modes are given to bricks whose operands are the same bits of the ports in a wider mode, as
    far as possible: these need no selector.
    """
    (u, _), (v, _) = (bricks(modes, side) for side in SIDES)
    places = [(lane, i, j) for lane in range(modes[0].lanes) for i in range(u) for j in range(v)]
    found: dict[Place, dict[int, Use]] = {place: {} for place in places}
    for index in sorted(range(len(modes)), key=lambda index: modes[index].rate):
        for place, use in _used(modes, index, found).items():
            found[place][index] = use
    return [tuple(found[place][index] for index in range(len(modes))) for place in places]


def _used(modes: Sequence[Mode], index: int, before: dict[Place, dict[int, Use]]) -> dict[Place, Use]:
    """The uses of all bricks in one mode, after those of wider modes."""
    mode = modes[index]
    parts = [_chunks(getattr(mode, side), *bricks(modes, side)) for side in SIDES]
    homes: dict[Place, list[Place]] = defaultdict(list)  # the bricks that make one product together
    for lane, i, j in before:
        homes[lane, i // len(parts[0]), j // len(parts[1])].append((lane, i, j))

    def use(place: Place, product: int) -> Use:
        _, i, j = place
        own = (parts[0][i % len(parts[0])], parts[1][j % len(parts[1])])
        codes = (mode.weight.bits, mode.activation.bits)
        at = [replace(chunk, low=chunk.low + product * bits) for chunk, bits in zip(own, codes, strict=True)]
        return Use((at[0], at[1]), sum(chunk.low for chunk in own))

    wishes = []
    for number, members in enumerate(homes.values()):
        scores: dict[int, int] = defaultdict(int)
        for place in members:
            for product in _candidates(use(place, 0), before[place].values(), mode):
                scores[product] += 1
        wishes += [(-score, number, product) for product, score in scores.items()]
    given: dict[int, int] = {}
    free = dict.fromkeys(range(mode.products))
    for _, number, product in sorted(wishes):
        if number not in given and product in free:
            del free[product]
            given[number] = product
    left = iter(free)
    result: dict[Place, Use] = {}
    for number, members in enumerate(homes.values()):
        own = given[number] if number in given else next(left, None)
        for place in members:
            wide = next(iter(before[place].values()), None)
            result[place] = Use(None, wide.shift if wide else 0) if own is None else use(place, own)
    return result


def _candidates(first: Use, others: Iterable[Use], mode: Mode) -> list[int]:
    """For each side of an earlier use, the product whose code has its chunk at the same bits of the port."""
    assert first.chunks is not None
    found = []
    for other in others:
        for chunk, own, side in zip(other.chunks or (), first.chunks, SIDES, strict=False):
            product, rest = divmod(chunk.low - own.low, getattr(mode, side).bits)
            if rest == 0 and 0 <= product < mode.products and chunk.bits == own.bits:
                found.append(product)
    return found


def _chunks(side: Side, count: int, width: int) -> list[Chunk]:
    """The chunks of one code."""
    used = min(count, -(-side.significand // width))
    return [
        Chunk(k * width, side.significand - k * width if k == used - 1 else width, k == used - 1) for k in range(used)
    ]


class Shared:
    """Emits the bricks of all lanes into the module `m`; `terms` returns the summands of a step."""

    def __init__(self, m: Module, pipe: Pipeline, modes: Sequence[Mode], mode: Net, ports: tuple[Net, Net]) -> None:
        self.m, self.pipe, self.modes, self.mode, self.ports = m, pipe, modes, mode, ports
        self.widths = [bricks(modes, side)[1] for side in SIDES]
        self._operands: dict[str, Net] = {}

    def terms(self, width: int) -> list[Callable[[Rows], None]]:
        """Functions that add the summands of a step to an adder tree of `width` bits."""
        groups: dict[tuple[int, ...], list[tuple[Use, ...]]] = defaultdict(list)
        for brick in uses(self.modes):
            groups[tuple(use.shift for use in brick)].append(brick)
        pairs: list[Net] = []
        for shifts, members in groups.items():
            constant = len(set(shifts)) == 1
            self.m.comment(f"bricks with shifts {', '.join(map(str, shifts))}")
            pairs += self.summed(members, shifts[0] if constant else 0, width if constant else self.bits(members))
        pairs = list(self.pipe("multiply", *pairs))
        nets: list[Net] = []
        for index, shifts in enumerate(groups):
            pair = pairs[2 * index : 2 * index + 2]
            nets += pair if len(set(shifts)) == 1 else [self.shifted(pair, shifts)]
        nets = list(self.pipe("align", *nets))
        found: list[Callable[[Rows], None]] = []
        for shifts in groups:
            if len(set(shifts)) == 1:
                found += [methodcaller("unsigned", nets.pop(0)), methodcaller("unsigned", nets.pop(0))]
            else:
                found.append(methodcaller("signed", nets.pop(0)))
        return found

    def bits(self, members: Sequence[tuple[Use, ...]]) -> int:
        """Width of the two's complement sum of a group, in every mode."""
        lowest = highest = 0
        for index in range(len(self.modes)):
            low = high = 0
            for brick in members:
                if (chunks := brick[index].chunks) is not None:
                    ends = [x * y for x in chunks[0].range for y in chunks[1].range]
                    low, high = low + min(ends), high + max(ends)
            lowest, highest = min(lowest, low), max(highest, high)
        return max(highest.bit_length(), (-lowest - 1).bit_length()) + 1

    def summed(self, members: Sequence[tuple[Use, ...]], shift: int, width: int) -> tuple[Net, Net]:
        """The products of a group as two rows with their sum modulo 2**width."""
        rows = Rows(self.m, width)
        constants = [0] * len(self.modes)
        for brick in members:
            with self.m.section("multipliers"):
                x, y = (self.operand(brick, side) for side in range(2))
                signs = [self.signs(brick, side) for side in range(2)]
                self.product(rows, x, y, signs, shift, constants)
        totals = [rows.constant + constant for constant in constants]
        rows.constant = 0
        for weight in range(width):
            ones = tuple(bool(total >> weight & 1) for total in totals)
            if all(ones):
                rows.constant |= 1 << weight
            elif any(ones):
                rows.bit(self.m.in_modes(self.mode, ones), weight)
        with self.m.section("tree"):
            return compress(self.m, rows)

    def product(
        self, rows: Rows, x: Net, y: Net, signs: Sequence[tuple[bool, ...]], shift: int, constants: list[int]
    ) -> None:
        """Add the partial products of a brick; constants: by mode, those of bits whose sign depends on the mode."""
        self.m.uses("partial_product", x.width * y.width)
        for j in range(y.width):
            row = self.m.wire(x.width, x & replicated(x.width, y.bit(j)), "pp")
            negative = [
                tuple((sx and i == x.width - 1) != (sy and j == y.width - 1) for sx, sy in zip(*signs, strict=True))
                for i in range(x.width)
            ]
            varying = [len(set(modes)) > 1 for modes in negative]
            if any(varying):
                self.m.uses("invert", sum(varying))
                mask = [
                    self.m.in_modes(self.mode, modes) if some else ZERO
                    for modes, some in zip(negative, varying, strict=True)
                ]
                row = self.m.wire(x.width, row ^ concatenation(mask), "pp")
            for i, (modes, some) in enumerate(zip(negative, varying, strict=True)):
                weight = i + j + shift
                rows.bit(row.bit(i), weight, negative=not some and modes[0])
                if some:
                    constants[:] = [c - (n << weight) for c, n in zip(constants, modes, strict=True)]

    def signs(self, brick: tuple[Use, ...], side: int) -> tuple[bool, ...]:
        """By mode, whether an operand is signed; of an idle brick as in another mode, as its products are 0."""
        found = [use.chunks[side].signed if use.chunks else None for use in brick]
        known = next(sign for sign in found if sign is not None)
        return tuple(known if sign is None else sign for sign in found)

    def operand(self, brick: tuple[Use, ...], side: int) -> Net:
        """The operand of a brick, selected by mode."""
        width = self.widths[side]
        choices = [self.chunk(use.chunks[side], side) if use.chunks else zeros(width) for use in brick]
        key = "|".join(str(choice) for choice in choices)
        if key not in self._operands:
            self._operands[key] = self.m.wire(width, self.m.select(self.mode, choices, width), "brick")
        return self._operands[key]

    def chunk(self, chunk: Chunk, side: int) -> Value:
        """The bits of a chunk, sign-extended to the width of a brick (only the highest chunk may be shorter)."""
        port = self.ports[side]
        top = port.bit(chunk.low + chunk.bits - 1)
        bits = port.part(chunk.low + chunk.bits - 1, chunk.low)
        missing = self.widths[side] - chunk.bits
        return joined(replicated(missing, top), bits) if missing else bits

    def shifted(self, pair: Sequence[Net], shifts: Sequence[int]) -> Net:
        """The sum of a group, shifted by mode."""
        with self.m.section("tree"):
            self.m.uses("carry_propagate", pair[0].width)
        total = self.m.wire(pair[0].width, pair[0] + pair[1], "group")
        width = total.width + max(shifts)
        choices = [
            joined(blocks.extended(total, width - shift), zeros(shift)) if shift else blocks.extended(total, width)
            for shift in shifts
        ]
        with self.m.section("alignment"):
            return self.m.wire(width, self.m.select(self.mode, choices, width), "term")
