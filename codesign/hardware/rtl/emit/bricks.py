"""Integer multipliers that several modes share, summed before they are shifted.

A wide product is made of sub-multipliers (bricks), each of which makes a product of its own in a narrow mode. Bricks
that every mode shifts alike form a group, which is summed over all lanes and then shifted once, as in BitBlade (Ryu et
al., DAC 2019), instead of each brick by itself, as in Bit Fusion (Sharma et al., ISCA 2018). The sum of a group stays
in two rows until all are added. Bricks are signed or unsigned by mode: partial products of negative weight are inverted
by mode, and one constant per mode corrects them (Baugh and Wooley, 1973), so that no operand is widened by a sign.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import methodcaller

from codesign.hardware.arithmetic.modes import Mode, Side
from codesign.hardware.rtl.emit.compress import Rows, compress
from codesign.hardware.rtl.emit.expressions import ZERO, Value, concatenation, joined, replicated, widened, zeros
from codesign.hardware.rtl.emit.verilog import Module, Net

SIDES = ("weight", "activation")


@dataclass(frozen=True)
class Chunk:
    """Bits of a code, from `low` on; the highest chunk of a code has its sign."""

    low: int  # of the code, or of the port
    bits: int
    signed: bool


@dataclass(frozen=True)
class Use:
    """What a brick multiplies in one mode, and how far its product is shifted."""

    chunks: tuple[Chunk, Chunk] | None  # of the ports of weights and activations; None: nothing
    shift: int


Place = tuple[int, int, int]  # widest multiplier, chunk of the weight, chunk of the activation


def bricks(modes: Sequence[Mode], side: str) -> tuple[int, int]:
    """(number of chunks, bits per chunk) of the multiplier's operand, as narrower modes use sub-multipliers."""
    integers = [mode for mode in modes if mode.is_integer]
    widest = max(getattr(mode, side).significand for mode in integers)
    half, slowest = -(-widest // 2), min(mode.rate for mode in integers)
    narrow = any(mode.rate > slowest and getattr(mode, side).significand <= half for mode in integers)
    return (2, half) if narrow else (1, widest)


def uses(modes: Sequence[Mode]) -> list[tuple[Use, ...]]:
    """The uses by mode of every brick: of those of all integer modes together, none in the others.

    The products of narrow modes are given to bricks whose operands are the same bits of the ports in a wider mode, as
    far as possible: these need no selector.
    """
    (u, _), (v, _) = (bricks(modes, side) for side in SIDES)
    integers = [index for index, mode in enumerate(modes) if mode.is_integer]
    columns = max(-(-modes[index].products // _held(modes, modes[index])) for index in integers)
    places = [(column, i, j) for column in range(columns) for i in range(u) for j in range(v)]
    found: dict[Place, dict[int, Use]] = {place: {} for place in places}
    for index in sorted(integers, key=lambda index: modes[index].rate):
        for place, use in _used(modes, index, found).items():
            found[place][index] = use
    return [
        tuple(each.get(index, Use(None, each[integers[0]].shift)) for index in range(len(modes)))
        for each in found.values()
    ]


def _parts(modes: Sequence[Mode], mode: Mode) -> list[list[Chunk]]:
    """The chunks of one code of each side."""
    return [_chunks(getattr(mode, side), *bricks(modes, side)) for side in SIDES]


def _held(modes: Sequence[Mode], mode: Mode) -> int:
    """The products of a mode on the bricks of one multiplier of the widest."""
    parts = _parts(modes, mode)
    (u, _), (v, _) = (bricks(modes, side) for side in SIDES)
    return (u // len(parts[0])) * (v // len(parts[1]))


def _used(modes: Sequence[Mode], index: int, before: dict[Place, dict[int, Use]]) -> dict[Place, Use]:
    """The uses of all bricks in one mode, after those of wider modes."""
    mode = modes[index]
    parts = _parts(modes, mode)
    homes: dict[Place, list[Place]] = defaultdict(list)  # the bricks that make one product together
    for lane, i, j in before:
        homes[lane, i // len(parts[0]), j // len(parts[1])].append((lane, i, j))

    def use(place: Place, product: int) -> Use:
        _, i, j = place
        own = (parts[0][i % len(parts[0])], parts[1][j % len(parts[1])])
        codes = (mode.weight.significand, mode.activation.significand)
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
            product, rest = divmod(chunk.low - own.low, getattr(mode, side).significand)
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
    """Emits the bricks of all integer modes into the module `m`, in three steps between which a pipeline may cut.

    ports: by mode, the codes of weights and activations in two's complement, side by side. registered: whether these
    are registers already, which the bricks share with the minifloats of other modes; otherwise every operand of a brick
    gets a register behind its selector, so that all bits of a multiplier change at once and nothing glitches. Operands
    are 0 in all other modes.
    """

    def __init__(
        self, m: Module, modes: Sequence[Mode], mode: Net, ports: Sequence[tuple[Net, Net]], registered: bool
    ) -> None:
        self.m, self.modes, self.mode, self.ports, self.registered = m, modes, mode, ports, registered
        self.widths = [bricks(modes, side)[1] for side in SIDES]
        self.constants = [0] * len(modes)  # by mode, what makes up for the bits that are added inverted
        self.groups: dict[tuple[int, ...], list[tuple[Use, ...]]] = defaultdict(list)  # by shifts
        for brick in uses(modes):
            self.groups[tuple(use.shift for use in brick)].append(brick)
        self._operands: dict[str, Net] = {}

    def pairs(self) -> list[Net]:
        """The sum of each group as two rows."""
        found: list[Net] = []
        for shifts, members in self.groups.items():
            self.m.comment(f"bricks with shifts {', '.join(map(str, shifts))}")
            found += self.summed(members, shifts)
        return found

    def shifted(self, pairs: Sequence[Net]) -> list[Net]:
        """The rows of `pairs`, shifted by mode."""
        return [self.placed(pairs[2 * i + k], shifts) for i, shifts in enumerate(self.groups) for k in range(2)]

    def terms(self, rows: Sequence[Net]) -> list[Callable[[Rows], None]]:
        """Functions that add the rows of `shifted` to an adder tree."""
        return [*(methodcaller("unsigned", row) for row in rows), self.correct]

    def correct(self, rows: Rows) -> None:
        """Add the constant of the present mode."""
        for weight in range(rows.width):
            ones = tuple(bool(constant >> weight & 1) for constant in self.constants)
            if all(ones):
                rows.constant += 1 << weight
            elif any(ones):
                rows.bit(self.m.in_modes(self.mode, ones), weight)

    def summed(self, members: Sequence[tuple[Use, ...]], shifts: Sequence[int]) -> tuple[Net, Net]:
        """The products of a group before its shift; their bits are not negative, so that no carry leaves the rows."""
        most = len(members) * ((1 << self.widths[0]) - 1) * ((1 << self.widths[1]) - 1)
        rows = Rows(self.m, most.bit_length())
        constants = [0] * len(self.modes)
        for brick in members:
            with self.m.section("multipliers"):
                x, y = (self.operand(brick, side) for side in range(2))
                self.product(rows, x, y, [self.signs(brick, side) for side in range(2)], constants)
        for index, (shift, constant) in enumerate(zip(shifts, constants, strict=True)):
            self.constants[index] += (rows.constant + constant) << shift
        rows.constant = 0
        with self.m.section("tree"):
            return compress(self.m, rows)

    def product(self, rows: Rows, x: Net, y: Net, signs: Sequence[tuple[bool, ...]], constants: list[int]) -> None:
        """Add the partial products of a brick; constants: by mode, those of bits whose sign depends on the mode."""
        for j in range(y.width):
            row = self.m.wire(x.width, x & replicated(x.width, y.bit(j)), "pp")
            negative = [
                tuple((sx and i == x.width - 1) != (sy and j == y.width - 1) for sx, sy in zip(*signs, strict=True))
                for i in range(x.width)
            ]
            varying = [len(set(modes)) > 1 for modes in negative]
            if any(varying):
                mask = [
                    self.m.in_modes(self.mode, modes) if some else ZERO
                    for modes, some in zip(negative, varying, strict=True)
                ]
                row = self.m.wire(x.width, row ^ concatenation(mask), "pp")
            for i, (modes, some) in enumerate(zip(negative, varying, strict=True)):
                rows.bit(row.bit(i), i + j, negative=not some and modes[0])
                if some:
                    constants[:] = [c - (n << i + j) for c, n in zip(constants, modes, strict=True)]

    def signs(self, brick: tuple[Use, ...], side: int) -> tuple[bool, ...]:
        """By mode, whether an operand is signed; of an idle brick as in another mode, as its products are 0."""
        found = [use.chunks[side].signed if use.chunks else None for use in brick]
        known = next(sign for sign in found if sign is not None)
        return tuple(known if sign is None else sign for sign in found)

    def operand(self, brick: tuple[Use, ...], side: int) -> Net:
        """The operand of a brick, selected by mode."""
        width = self.widths[side]
        choices = [
            self.chunk(use.chunks[side], ports[side], width) if use.chunks else zeros(width)
            for use, ports in zip(brick, self.ports, strict=True)
        ]
        key = "|".join(str(choice) for choice in choices)
        if key not in self._operands:
            with self.m.section("registers" if not self.registered else "multipliers"):
                chosen = self.m.wire(width, self.m.select(self.mode, choices, width), "brick")
            self._operands[key] = chosen if self.registered else self.m.register(chosen, "brick")
        return self._operands[key]

    @staticmethod
    def chunk(chunk: Chunk, port: Net, width: int) -> Value:
        """The bits of a chunk, sign-extended to the width of a brick (only the highest chunk may be shorter)."""
        top = port.bit(chunk.low + chunk.bits - 1)
        bits = port.part(chunk.low + chunk.bits - 1, chunk.low)
        missing = width - chunk.bits
        return joined(replicated(missing, top), bits) if missing else bits

    def placed(self, row: Net, shifts: Sequence[int]) -> Net:
        """A row of a group's sum, shifted by mode."""
        if not any(shifts):
            return row
        width = row.width + max(shifts)
        choices = [widened(joined(row, zeros(shift)) if shift else row, row.width + shift, width) for shift in shifts]
        with self.m.section("alignment"):
            return self.m.wire(width, self.m.select(self.mode, choices, width), "term")
