"""`MacUnit`: a dot-product unit that runs a set of (weight, activation) format pairs.

Area, delay and energy come from the unit's own Verilog, its bill of materials and logic levels, times
coefficients fitted to synthesis (`unit_model`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from codesign.errors import InputError
from codesign.formats import FormatPair
from codesign.hardware.arithmetic.accumulators import check_accumulator, resolve_accumulator
from codesign.hardware.arithmetic.modes import Mode
from codesign.hardware.arithmetic.operands import operands
from codesign.hardware.rtl.emit.lanes import bricks
from codesign.hardware.rtl.emit.unit import Unit
from codesign.hardware.units.coefficients import Interval, at_nodes, table
from codesign.hardware.units.unit_model import SHIPPED, SHIPPED_7NM, UnitModel, load_model

LONGEST_DOT = 256
VECTOR_PAIR = FormatPair("bf16", "bf16")
DEFAULT_CLOCK_GHZ = 1.0


@dataclass(frozen=True)
class MacUnit:
    """A dot product of `dot` lanes for every pair in `pairs`, summed in `accumulator`, at a node.

    pairs: FormatPair or text ("int4_g32:int8"), at least one;
    accumulator: auto, int<N>, fp32, fp16, exact, exact<N>, aligned<W> (see `accumulators`);
    dot: products per cycle at rate 1, a power of two up to 256;
    node_nm: 3 to 45 (7 nm, scaled) or 130;
    clock_ghz: what the datapath is cut for; steps that alone are longer stay whole (see delay_ns);
    unit_model: path of a model that `codesign calibrate` wrote, whose library stands for the node.
    An integer pair narrower than the widest one runs on bricks of the multipliers, 2x or 4x as fast.
    Raises InputError on an unknown format or accumulator, one that cannot hold a pair's products,
    or a size or node out of range.
    """

    pairs: tuple[FormatPair, ...]
    accumulator: str = "auto"
    dot: int = 1
    node_nm: float = 7
    clock_ghz: float = DEFAULT_CLOCK_GHZ
    unit_model: str = ""
    _rates: dict[FormatPair, int] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        pairs = tuple(dict.fromkeys(p if isinstance(p, FormatPair) else FormatPair.parse(p) for p in self.pairs))
        if not pairs:
            raise InputError("a MAC unit needs at least one format pair")
        object.__setattr__(self, "pairs", pairs)
        check_accumulator(self.accumulator)
        if not 1 <= self.dot <= LONGEST_DOT or self.dot & (self.dot - 1):
            raise InputError(f"dot must be a power of two from 1 to {LONGEST_DOT}, not {self.dot}")
        self.scale("logic_area")  # a node out of range fails here
        if not 0 < self.clock_ghz <= 20:
            raise InputError(f"clock_ghz must lie between 0 and 20, not {self.clock_ghz:g}")
        object.__setattr__(self, "_rates", _rates(pairs, self.accumulator, self.dot))
        assert self.rtl.modes  # an accumulator that cannot take a pair fails here

    def supports(self, pair: FormatPair) -> bool:
        return pair in self._rates

    def rate(self, pair: FormatPair) -> int:
        """MACs per cycle and lane: 1, 2 or 4; raises InputError for a pair that the unit lacks."""
        if pair not in self._rates:
            offered = ", ".join(str(p) for p in self.pairs)
            raise InputError(f"the unit does not support {pair}; it supports {offered}")
        return self._rates[pair]

    @property
    def model(self) -> UnitModel:
        """Coefficients of the library that prices the unit."""
        return load_model(self.unit_model or SHIPPED.get(self.node_nm, SHIPPED_7NM))

    def scale(self, quantity: str) -> Interval:
        """Factor from the model's library to the node for logic_area, logic_delay or logic_energy."""
        return Interval(*(float(x) for x in self.scales(quantity, np.array([self.node_nm]))[0]))

    def scales(self, quantity: str, node_nm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """`scale` with other nodes in the place of the unit's own: (value, low, high) each, float64 [n, 3]."""
        if self.unit_model or self.node_nm in SHIPPED:
            return np.ones((len(node_nm), 3))
        library = table("nodes.yaml", "library")[quantity]
        try:
            return at_nodes("nodes.yaml", quantity, node_nm) * (library.value, library.low, library.high)
        except ValueError as error:
            others = ", ".join(f"{node:g}" for node in SHIPPED)
            raise InputError(f"node_nm: {error}; MAC units alone also at {others} nm") from None

    @property
    def uncut(self) -> Unit:
        """The unit without pipeline registers."""
        return _uncut(self.pairs, self.accumulator, self.dot)

    @property
    def rtl(self) -> Unit:
        """What `codesign rtl` writes for this unit, cut for its clock."""
        period_ps = 1e3 / self.clock_ghz / self.scale("logic_delay").value
        return self.uncut.cut(self.model.plan(self.uncut, period_ps).cuts)

    @property
    def area_um2(self) -> Interval:
        """Cell area of the whole unit (all lanes), with the interval of fit and node."""
        return self.model.area(self.rtl).scaled(self.scale("logic_area"))

    @property
    def delay_ns(self) -> Interval:
        """Longest register-to-register path: the shortest clock period of the unit."""
        return self.model.delay_ns(self.rtl).scaled(self.scale("logic_delay"))

    @property
    def holds_clock(self) -> bool:
        """Whether the longest path may fit in a clock period: at the low end of its interval.

        The libraries' cells are of one threshold voltage and open synthesis sizes them little, so that timing
        closure with more of both may reach the low end, and hardly go beyond.
        """
        return self.delay_ns.low <= 1 / self.clock_ghz

    @property
    def leakage_nw(self) -> Interval:
        """Power of the whole unit at rest; scaled to a node like energy."""
        return self.model.leakage_nw(self.rtl).scaled(self.scale("logic_energy"))

    @property
    def extrapolation(self) -> tuple[str, ...]:
        """In what respects the unit lies beyond those that the coefficients are fitted to; empty within."""
        return self.model.extrapolation(self.rtl)

    def energy_pj(self, pair: FormatPair, activity: str | None = None) -> Interval:
        """Dynamic energy of one MAC of `pair` in this unit, registers, clock and accumulation included.

        activity: operands that it was measured with, one of `model.activities` (bundled networks, or
        uniform "noise"); by default the mean of the networks. low counts no glitches, high all of equal gate delays.
        """
        self.rate(pair)
        energy = self.model.energy_pj(self.rtl, self.rtl.pairs.index(pair), activity)
        return energy.scaled(self.scale("logic_energy"))


def vector_mac(unit: MacUnit) -> MacUnit:
    """One bf16 MAC of a vector lane beside `unit`."""
    return replace(unit, pairs=(VECTOR_PAIR,), accumulator="fp32", dot=1)


def _rates(pairs: tuple[FormatPair, ...], accumulator: str, dot: int) -> dict[FormatPair, int]:
    """Products that one lane makes of each pair: integer pairs as many as bricks of the multiplier hold.

    A block format never makes more products a cycle than its block has: a shared unit sums one block at a time.
    """
    plain = {pair: Mode(pair, resolve_accumulator(accumulator, *operands(pair)), dot) for pair in pairs}
    if len(pairs) == 1:
        return {pairs[0]: 1}
    found = {}
    widest = {side: max(getattr(m, side).significand for m in plain.values()) for side in ("weight", "activation")}
    for pair, mode in plain.items():
        rate = 1
        for side in ("weight", "activation"):
            half = -(-widest[side] // 2)
            if mode.is_integer and getattr(mode, side).significand <= half:
                rate *= 2
        while rate > 1 and mode.block and dot * rate > mode.block:
            rate //= 2
        found[pair] = rate
    modes = [Mode(p, m.accumulator, dot, found[p]) for p, m in plain.items()]
    assert all(bricks(modes, side)[0] in (1, 2) for side in ("weight", "activation"))
    return found


@lru_cache(maxsize=65536)
def _uncut(pairs: tuple[FormatPair, ...], accumulator: str, dot: int) -> Unit:
    ordered = tuple(sorted(pairs, key=str))
    rates = _rates(ordered, accumulator, dot)
    return Unit(ordered, accumulator, dot, rates=tuple(rates[pair] for pair in ordered))
