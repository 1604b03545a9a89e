"""`MacUnit`: a dot-product unit that supports a set of (weight, activation) format pairs.

Area, delay and energy follow from the gates of the unit's Verilog, with coefficients
fitted to synthesis results (`unit_model`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from codesign.errors import InputError
from codesign.formats import FormatPair, get_format
from codesign.hardware.arithmetic.accumulators import check_accumulator, resolve_accumulator
from codesign.hardware.arithmetic.modes import Mode
from codesign.hardware.arithmetic.operands import operands
from codesign.hardware.arithmetic.overflow import Summing, fixed_bits, required_bits, worst_case_fits
from codesign.hardware.rtl.emit.unit import Unit
from codesign.hardware.rtl.emit.verilog import SECTIONS
from codesign.hardware.units.coefficients import Interval, at_nodes, table
from codesign.hardware.units.unit_model import SHIPPED, SHIPPED_7NM, UnitModel, load_model

LONGEST_DOT = 256
VECTOR_PAIR = FormatPair("bf16", "bf16")
BASELINE_PAIRS = (FormatPair("fp16", "fp16"), FormatPair("fp32", "fp32"))
DEFAULT_CLOCK_GHZ = 1.0
# said where a node is refused: memories are known of no others
SINGLE_UNITS = f"MAC units alone also at {' and '.join(f'{node:g}' for node in SHIPPED)} nm"


def check_dot(dot: float) -> None:
    """Raise InputError unless a unit may have this many lanes."""
    if dot not in range(1, LONGEST_DOT + 1):
        raise InputError(f"dot must be a whole number from 1 to {LONGEST_DOT}, not {dot}")


class StepError(InputError):
    """A unit whose step no pair of it can have; axis: the one that should have another value."""

    def __init__(self, text: str, axis: str) -> None:
        super().__init__(text)
        self.axis = axis


def check_step(mode: Mode, unit: Summing) -> None:
    """Raise StepError if a step straddles blocks, or a named accumulator cannot hold the sum of a single step.

    ``auto`` is 32 bits wide for every integer pair; what a layer's sums need is checked where layers are known.
    """
    products = mode.products
    straddled = [block for block in mode.blocks if products % block and block % products]
    if straddled:
        block = straddled[0]
        fitting = mode.unstraddled(LONGEST_DOT)
        lower = max(lanes for lanes in fitting if lanes < products)
        higher = min((lanes for lanes in fitting if lanes > products), default=lower)
        raise StepError(
            f"a step of {products} products straddles the blocks of {block} of {mode.pair}: "
            f"take {lower} or {higher} products per cycle",
            "dot",
        )
    if unit.accumulator != "auto" and not worst_case_fits(mode.pair, unit.accumulator, products, fixed_bits(unit)):
        kind = "int" if mode.is_integer else "exact"
        raise StepError(
            f"accumulator '{unit.accumulator}' cannot hold the sum of one step, {products} products of {mode.pair}: "
            f"take {kind}{required_bits(mode.pair, products)} or wider",
            "accumulator",
        )


@dataclass(frozen=True)
class MacUnit:
    """A dot-product unit of `dot` lanes that supports every pair in `pairs`.

    Integer pairs at most half as wide as the widest one use sub-multipliers, at 2 or 4 products per lane and cycle.
    Minifloats are as fast with `fast_floats`, if 2 or 4 codes and significands fit those of the widest pair.
    A format per token is that of its elements here (`FormatPair.datapath`): its scales are applied outside of the unit.
    Raises InputError on an unknown format or accumulator, an accumulator that cannot hold a pair's products, or a size
    or node out of range.
    """

    pairs: tuple[FormatPair, ...]  # datapaths, at least one; also given as text ("int4_g32:int8"), or per token
    accumulator: str = "auto"  # auto, int<N>, int<N>_sat, fp32, fp16, exact, exact<N>, aligned<W> (see `accumulators`)
    dot: int = 1  # products per cycle at rate 1, up to 256; of a format in blocks a divisor or multiple of the block
    node_nm: float = 7  # 3 to 45 (scaled from 7 nm), 130 or 180
    clock_ghz: float = DEFAULT_CLOCK_GHZ  # for which it is pipelined; longer steps are not split (see delay_ns)
    unit_model: str = ""  # path of a model written by `codesign calibrate`, whose library replaces the node's
    fast_floats: bool = False  # FP8, FP6 and FP4 at 2 or 4 times the rate of the widest pair
    _rates: dict[FormatPair, int] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        given = [p if isinstance(p, FormatPair) else FormatPair.parse(p) for p in self.pairs]
        if not given:
            raise InputError("a MAC unit needs at least one format pair")
        for name in dict.fromkeys(name for pair in given for name in (pair.weight, pair.activation)):
            get_format(name)
        pairs = tuple(dict.fromkeys(pair.datapath for pair in given))
        object.__setattr__(self, "pairs", pairs)
        check_accumulator(self.accumulator)
        check_dot(self.dot)
        self.scale("logic_area")  # raises on a node out of range
        if not 0 < self.clock_ghz <= 20:
            raise InputError(f"clock_ghz must lie between 0 and 20, not {self.clock_ghz:g}")
        object.__setattr__(self, "_rates", _rates(pairs, self.accumulator, self.dot, self.fast_floats))
        for mode in self.uncut.modes:  # raises on an accumulator that cannot hold a pair
            check_step(mode, self)
        assert self.rtl.modes

    def supports(self, pair: FormatPair) -> bool:
        """Whether the unit multiplies operands of the pair; scales of tokens are no matter of the unit."""
        return pair.datapath in self._rates

    def rate(self, pair: FormatPair) -> int:
        """MACs per cycle and lane: 1, 2 or 4; raises InputError for an unsupported pair."""
        if not self.supports(pair):
            offered = ", ".join(str(p) for p in self.pairs)
            raise InputError(f"the unit does not support {pair}; it supports {offered}")
        return self._rates[pair.datapath]

    @property
    def model(self) -> UnitModel:
        """Coefficients of the cell library for this unit."""
        return load_model(self.unit_model or SHIPPED.get(self.node_nm, SHIPPED_7NM))

    def scale(self, quantity: str) -> Interval:
        """Scaling factor from the model's library to the node: of logic_area, logic_delay or logic_energy."""
        return Interval(*(float(x) for x in self.scales(quantity, np.array([self.node_nm]))[0]))

    def scales(self, quantity: str, node_nm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """`scale` at the given nodes instead of the unit's own: (value, low, high), float64 [n, 3]."""
        if self.unit_model or self.node_nm in SHIPPED:
            return np.ones((len(node_nm), 3))
        library = table("nodes.yaml", "library")[quantity]
        try:
            return at_nodes("nodes.yaml", quantity, node_nm) * (library.value, library.low, library.high)
        except ValueError as error:
            raise InputError(f"node_nm: {error}; {SINGLE_UNITS}") from None

    @property
    def uncut(self) -> Unit:
        """The unit without pipeline registers."""
        return _uncut(self.pairs, self.accumulator, self.dot, self.fast_floats)

    @property
    def rtl(self) -> Unit:
        """The unit pipelined for its clock, as written by `codesign rtl`."""
        period_ps = 1e3 / self.clock_ghz / self.scale("logic_delay").value
        return self.uncut.cut(self.model.plan(self.uncut, period_ps).cuts)

    @property
    def area_um2(self) -> Interval:
        """Cell area of the whole unit (all lanes), with the uncertainty of fit and node."""
        return self.model.area(self.rtl).scaled(self.scale("logic_area"))

    @property
    def area_by_section(self) -> dict[str, float]:
        """The cell area in um2 by `SECTIONS` of the datapath; the sum is that of `area_um2`."""
        scale = self.scale("logic_area").value
        areas = zip(SECTIONS, self.model.areas(self.rtl).tolist(), strict=True)
        return {section: scale * area for section, area in areas if area}

    @property
    def delay_ns(self) -> Interval:
        """Longest register-to-register path, which is the shortest clock period of the unit."""
        return self.model.delay_ns(self.rtl).scaled(self.scale("logic_delay"))

    @property
    def holds_clock(self) -> bool:
        """Whether the longest path fits the clock period at the low end of its interval.

        The libraries have a single threshold voltage and open-source synthesis does little gate sizing, so that timing
        closure with more of both can reach the low end, but hardly exceed it.
        """
        return self.delay_ns.low <= 1 / self.clock_ghz

    @property
    def reached_ghz(self) -> float:
        """The clock that it runs at: the one that it is cut for, or what its central delay allows if that is less."""
        return min(self.clock_ghz, 1 / self.delay_ns.value)

    @property
    def leakage_nw(self) -> Interval:
        """Leakage power of the whole unit; scaled to the node like energy."""
        return self.model.leakage_nw(self.rtl).scaled(self.scale("logic_energy"))

    @property
    def extrapolation(self) -> tuple[str, ...]:
        """The respects in which the unit exceeds those that the coefficients are fitted to; empty if none."""
        return self.model.extrapolation(self.rtl)

    def energy_pj(self, pair: FormatPair, activity: str | None = None) -> Interval:
        """Dynamic energy of one MAC of `pair` in this unit, registers, clock and accumulation included.

        activity: the operand stream, one of `model.activities` (bundled networks, or uniform "noise"); by default the
        mean of the networks. The interval covers the networks and the model's error on families that it was not fitted
        to.
        """
        self.rate(pair)
        energy = self.model.energy_pj(self.rtl, self.rtl.pairs.index(pair.datapath), activity)
        return energy.scaled(self.scale("logic_energy"))


def baselines(unit: MacUnit) -> tuple[MacUnit, ...]:
    """FP16 and FP32 units with FP32 sums, of the dot length, node, clock and library of `unit`."""
    return tuple(replace(unit, pairs=(pair,), accumulator="fp32") for pair in BASELINE_PAIRS)


def vector_mac(unit: MacUnit) -> MacUnit:
    """A bf16 MAC of a lane of the vector unit, at the node and clock of `unit`."""
    return replace(unit, pairs=(VECTOR_PAIR,), accumulator="fp32", dot=1, fast_floats=False)


def _rates(pairs: tuple[FormatPair, ...], accumulator: str, dot: int, fast_floats: bool) -> dict[FormatPair, int]:
    """Products per lane and cycle of each pair: as many as the sub-multipliers hold for integer pairs, else 1.

    A block format has at most one block of products per cycle: a unit of several formats sums one block at a time.
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
        if fast_floats and not mode.is_integer:
            rate = _float_rate(mode, plain.values())
        while rate > 1 and mode.block and mode.block % (dot * rate):
            rate //= 2
        found[pair] = rate
    return found


def _float_rate(mode: Mode, modes: Iterable[Mode]) -> int:
    """Products of a minifloat pair that the ports and the multiplier of the widest pair hold: 1, 2 or 4."""
    known = list(modes)
    for rate in (4, 2):
        if all(
            rate * getattr(mode, side).bits <= max(getattr(each, side).bits for each in known)
            and rate * getattr(mode, side).significand <= max(getattr(each, side).significand for each in known)
            for side in ("weight", "activation")
        ):
            return rate
    return 1


@lru_cache(maxsize=65536)
def _uncut(pairs: tuple[FormatPair, ...], accumulator: str, dot: int, fast_floats: bool) -> Unit:
    ordered = tuple(sorted(pairs, key=str))
    rates = _rates(ordered, accumulator, dot, fast_floats)
    return Unit(ordered, accumulator, dot, rates=tuple(rates[pair] for pair in ordered))
