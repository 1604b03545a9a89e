"""`MacUnit`: a dot-product unit that runs a set of (weight, activation) format pairs.

Area, delay and energy come from the unit's own Verilog: its bill of materials and the logic levels
of its pipeline stages, times coefficients fitted to synthesis (data/mac_model.yaml).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache

import numpy as np

from codesign.errors import InputError
from codesign.formats import FormatPair
from codesign.hardware.accumulators import check_accumulator, resolve_accumulator
from codesign.hardware.calibration.parts import BUSY, PARTS
from codesign.hardware.coefficients import Interval, at_node, read_data, table
from codesign.hardware.operands import operands
from codesign.hardware.rtl.lanes import bricks
from codesign.hardware.rtl.modes import Mode
from codesign.hardware.rtl.timing import delay_ps, plan, stages
from codesign.hardware.rtl.unit import Unit, build

LONGEST_DOT = 256
DEFAULT_CLOCK_GHZ = 1.0
_LARGEST_FITTED_DOT = 32


@cache
def _area_coefficients() -> np.ndarray:
    rows = table("mac_model.yaml", "area_um2")
    return np.array([rows[part].value for part in PARTS])


@cache
def _energy_coefficients() -> np.ndarray:
    """pJ per part and operation at 7 nm, float64 [parts]."""
    per_area = table("mac_model.yaml", "energy_fj_per_um2")
    activity = np.where(np.isin(PARTS, BUSY), per_area["float"].value, per_area["integer"].value)
    return np.asarray(_area_coefficients() * activity * 1e-3)


@cache
def _level_ps() -> Mapping[str, float]:
    return {kind: row.value for kind, row in table("mac_model.yaml", "level_ps").items()}


@lru_cache(maxsize=65536)
def _counts(unit: Unit) -> np.ndarray:
    """The unit's bill of materials in the order of PARTS, float64 [parts]."""
    parts = build(unit).parts
    return np.array([parts.get(part, 0) for part in PARTS], dtype=np.float64)


@dataclass(frozen=True)
class MacUnit:
    """A dot product of `dot` lanes for every pair in `pairs`, summed in `accumulator`, at a node.

    pairs: FormatPair or text ("int4_g32:int8"), at least one;
    accumulator: auto, int<N>, fp32, fp16, exact, exact<N>, aligned<W> (see `accumulators`);
    dot: products per cycle at rate 1, a power of two up to 256; node_nm: 3 to 45.
    clock_ghz: what the datapath is cut for; steps that alone are longer stay whole (see delay_ns).
    An integer pair narrower than the widest one runs on bricks of the multipliers, 2x or 4x as fast.
    Raises InputError on an unknown format or accumulator, one that cannot hold a pair's products,
    or a size or node out of range.
    """

    pairs: tuple[FormatPair, ...]
    accumulator: str = "auto"
    dot: int = 1
    node_nm: float = 7
    clock_ghz: float = DEFAULT_CLOCK_GHZ
    _rates: dict[FormatPair, int] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        pairs = tuple(dict.fromkeys(p if isinstance(p, FormatPair) else FormatPair.parse(p) for p in self.pairs))
        if not pairs:
            raise InputError("a MAC unit needs at least one format pair")
        object.__setattr__(self, "pairs", pairs)
        check_accumulator(self.accumulator)
        if not 1 <= self.dot <= LONGEST_DOT or self.dot & (self.dot - 1):
            raise InputError(f"dot must be a power of two from 1 to {LONGEST_DOT}, not {self.dot}")
        try:
            at_node("nodes.yaml", "logic_area", self.node_nm)
        except ValueError as error:
            raise InputError(f"node_nm: {error}") from None
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
    def rtl(self) -> Unit:
        """What `codesign rtl` writes for this unit, cut for its clock."""
        return _rtl(self.pairs, self.accumulator, self.dot, self.node_nm, self.clock_ghz)

    @property
    def area_um2(self) -> Interval:
        """Cell area of the whole unit (all lanes), with the interval of fit and node."""
        return _unit_area(self.rtl, self.node_nm)

    @property
    def delay_ns(self) -> Interval:
        """Longest register-to-register path: the shortest clock period of the unit."""
        return _unit_delay(self.rtl, self.node_nm)

    @property
    def is_fitted(self) -> bool:
        """Whether a unit of this length was among those that the coefficients are fitted to."""
        return self.dot <= _LARGEST_FITTED_DOT

    def energy_pj(self, pair: FormatPair) -> Interval:
        """Energy of one MAC of `pair` in this unit, registers and accumulation included."""
        return _mac_energy(self.rtl, self.node_nm, pair, self.rate(pair))


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
def _rtl(pairs: tuple[FormatPair, ...], accumulator: str, dot: int, node_nm: float, clock_ghz: float) -> Unit:
    ordered = tuple(sorted(pairs, key=str))
    rates = _rates(ordered, accumulator, dot)
    unit = Unit(ordered, accumulator, dot, rates=tuple(rates[pair] for pair in ordered))
    period_ps = 1e3 / clock_ghz / at_node("nodes.yaml", "logic_delay", node_nm).value
    return unit.cut(plan(unit.modes, period_ps, _level_ps()))


@lru_cache(maxsize=65536)
def _unit_area(unit: Unit, node_nm: float) -> Interval:
    core = float(_counts(unit) @ _area_coefficients())
    error = table("system.yaml", "unit")["model_error"].value
    area = Interval(core, core * (1 - error), core * (1 + error))
    return area.scaled(at_node("nodes.yaml", "logic_area", node_nm))


@lru_cache(maxsize=65536)
def _unit_delay(unit: Unit, node_nm: float) -> Interval:
    longest = max(delay_ps(stage, _level_ps()) for mode in unit.modes for stage in stages(mode, unit.cuts)) * 1e-3
    error = table("system.yaml", "unit")["delay_error"].value
    delay = Interval(longest, longest * (1 - error), longest * (1 + error))
    return delay.scaled(at_node("nodes.yaml", "logic_delay", node_nm))


@lru_cache(maxsize=262144)
def _mac_energy(unit: Unit, node_nm: float, pair: FormatPair, rate: int) -> Interval:
    """pJ per MAC: the pair's own parts switch, the rest of the unit a little (idle_activity)."""
    rows = table("system.yaml", "unit")
    products = unit.lanes * rate
    own_counts = np.minimum(_counts(Unit((pair,), unit.accumulator, products, unit.cuts)), _counts(unit))
    own = float(own_counts @ _energy_coefficients())
    quiet = table("mac_model.yaml", "energy_fj_per_um2")["integer"].value * 1e-3
    unused = float((_counts(unit) - own_counts) @ _area_coefficients()) * quiet
    idle, spread = rows["idle_activity"], rows["energy_spread"].interval
    energy = Interval(
        (own + idle.value * unused) / products * spread.value,
        (own + idle.low * unused) / products * spread.low,
        (own + idle.high * unused) / products * spread.high,
    )
    return energy.scaled(at_node("nodes.yaml", "logic_energy", node_nm))


def fit_errors() -> dict[str, dict[str, dict[str, float]]]:
    """Relative errors of area and delay: in-sample, held-out units and families; median, p90, worst."""
    return dict(read_data("mac_model.yaml")["errors"])
