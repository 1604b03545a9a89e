"""`MacUnit`: a dot-product unit that runs a set of (weight, activation) format pairs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, lru_cache

import numpy as np

from codesign.errors import InputError
from codesign.formats import FormatPair
from codesign.hardware.accumulators import DEFAULT_WINDOW, check_accumulator, resolve_accumulator
from codesign.hardware.coefficients import Interval, at_node, read_data, table
from codesign.hardware.operands import operands
from codesign.hardware.terms import FLOAT_TERMS, TERMS, unit_terms

MOST_BRICKS = 4  # a multiplier splits into at most 2 x 2
# Floating-point products that need an alignment window: aligners outgrow the shared multiplier beyond two.
MOST_FLOAT_BRICKS = 2
LONGEST_DOT = 256


@cache
def _area_coefficients() -> np.ndarray:
    rows = table("mac_model.yaml", "area_um2")
    return np.array([rows[term].value for term in TERMS])


@cache
def _energy_coefficients() -> np.ndarray:
    """pJ per count and operation at 7 nm, float64 [terms]."""
    per_area = table("mac_model.yaml", "energy_fj_per_um2")
    busy = np.isin(TERMS, FLOAT_TERMS)
    activity = np.where(busy, per_area["float"].value, per_area["integer"].value)
    return np.asarray(_area_coefficients() * activity * 1e-3)


@cache
def _pair_terms(pair: FormatPair, accumulator: str, lanes: int, bricks: int = 1) -> np.ndarray:
    weight, activation = operands(pair)
    return unit_terms(weight, activation, resolve_accumulator(accumulator, weight, activation), lanes, bricks)


@dataclass(frozen=True)
class MacUnit:
    """A dot product of `dot` lanes for every pair in `pairs`, summed in `accumulator`, at a node.

    pairs: FormatPair or text ("int4_g32:int8"), at least one;
    accumulator: auto, int<N>, fp32, fp16, exact, exact<N>, aligned<W> (see `accumulators`);
    dot: products per cycle at rate 1, a power of two up to 256; node_nm: 3 to 45.
    A pair narrower than the widest one runs on bricks of the multipliers, 2x or 4x as fast.
    Raises InputError on an unknown format or accumulator, one that cannot hold a pair's products,
    or a size or node out of range.
    """

    pairs: tuple[FormatPair, ...]
    accumulator: str = "auto"
    dot: int = 1
    node_nm: float = 7
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
        object.__setattr__(self, "_rates", _rates(pairs))
        for pair in pairs:
            _pair_terms(pair, self.accumulator, self.dot)  # an accumulator that cannot take a pair fails here

    def supports(self, pair: FormatPair) -> bool:
        return pair in self._rates

    def rate(self, pair: FormatPair) -> int:
        """MACs per cycle and lane: 1, 2 or 4; raises InputError for a pair that the unit lacks."""
        if pair not in self._rates:
            offered = ", ".join(str(p) for p in self.pairs)
            raise InputError(f"the unit does not support {pair}; it supports {offered}")
        return self._rates[pair]

    @property
    def area_um2(self) -> Interval:
        """Cell area of the whole unit (all lanes), with the interval of fit, modes and node."""
        return _unit_area(self.pairs, self.accumulator, self.dot, self.node_nm)

    def energy_pj(self, pair: FormatPair) -> Interval:
        """Energy of one MAC of `pair` in this unit, registers and accumulation included."""
        rate = self.rate(pair)
        return _mac_energy(self.pairs, self.accumulator, self.dot, self.node_nm, pair, rate)


def _rates(pairs: tuple[FormatPair, ...]) -> dict[FormatPair, int]:
    """How many products of each pair one lane makes: as many as fit its multiplier and operand ports."""
    shapes = {pair: operands(pair) for pair in pairs}
    widest = max(pairs, key=lambda p: (shapes[p][0].significand * shapes[p][1].significand, shapes[p][0].bits))
    weight, activation = shapes[widest]
    found = {}
    for pair, (w, a) in shapes.items():
        bricks = (weight.significand // w.significand) * (activation.significand // a.significand)
        if w.span + a.span > DEFAULT_WINDOW and not (w.is_integer and a.is_integer):
            bricks = min(bricks, MOST_FLOAT_BRICKS)
        ports = max(weight.bits // w.bits, 1) * max(activation.bits // a.bits, 1)
        most = max(1, min(bricks, ports, MOST_BRICKS))
        found[pair] = 1 << (most.bit_length() - 1)
    return found


def _unit_terms(pairs: tuple[FormatPair, ...], accumulator: str, dot: int) -> np.ndarray:
    """Counts of a unit that can be any of `pairs`: of every part, as many as the greediest mode needs."""
    rates = _rates(pairs)
    return np.asarray(np.max([_pair_terms(p, accumulator, dot, rates[p]) for p in pairs], axis=0))


@lru_cache(maxsize=65536)
def _unit_area(pairs: tuple[FormatPair, ...], accumulator: str, dot: int, node_nm: float) -> Interval:
    coefficients = _area_coefficients()
    terms = _unit_terms(pairs, accumulator, dot)
    core = float(terms @ coefficients)
    error = table("system.yaml", "unit")["model_error"].value
    modes = _mode_area(pairs, dot, terms)
    area = Interval(core + modes.value, core * (1 - error) + modes.low, core * (1 + error) + modes.high)
    return area.scaled(at_node("nodes.yaml", "logic_area", node_nm))


def _mode_area(pairs: tuple[FormatPair, ...], dot: int, terms: np.ndarray) -> Interval:
    """um2 at 7 nm of what sharing costs: selectors per further mode, shift-add of bricks."""
    index = {term: i for i, term in enumerate(TERMS)}
    coefficients = _area_coefficients()
    selectors = (len(pairs) - 1) * float(terms[index["registers"]]) * float(coefficients[index["alignment"]])
    bricks = max(_rates(pairs).values()) - 1
    product = max(sum(o.significand for o in operands(p)) for p in pairs)
    adders = bricks * dot * product * float(coefficients[index["carry_propagate"]])
    rows = table("system.yaml", "unit")
    mux, brick = rows["mode_selectors"].interval, rows["brick_adders"].interval
    return Interval(
        selectors * mux.value + adders * brick.value,
        selectors * mux.low + adders * brick.low,
        selectors * mux.high + adders * brick.high,
    )


@lru_cache(maxsize=262144)
def _mac_energy(
    pairs: tuple[FormatPair, ...], accumulator: str, dot: int, node_nm: float, pair: FormatPair, rate: int
) -> Interval:
    """pJ per MAC: the pair's own parts switch, the rest of the unit a little (idle_activity)."""
    rows = table("system.yaml", "unit")
    own_terms = _pair_terms(pair, accumulator, dot, rate)
    own = float(own_terms @ _energy_coefficients())
    quiet = table("mac_model.yaml", "energy_fj_per_um2")["integer"].value * 1e-3
    coefficients = _area_coefficients()
    unit = float(_unit_terms(pairs, accumulator, dot) @ coefficients) + _mode_area(pairs, dot, own_terms).value
    unused = max(unit - float(own_terms @ coefficients), 0.0) * quiet
    idle = rows["idle_activity"]
    per_mac = 1 / (dot * rate)
    spread = rows["energy_spread"].interval
    energy = Interval(
        (own + idle.value * unused) * per_mac * spread.value,
        (own + idle.low * unused) * per_mac * spread.low,
        (own + idle.high * unused) * per_mac * spread.high,
    )
    return energy.scaled(at_node("nodes.yaml", "logic_energy", node_nm))


def fit_errors() -> dict[str, dict[str, float]]:
    """Relative area errors of the fit, in-sample and left-out: mean, p90, worst."""
    return dict(read_data("mac_model.yaml")["errors"])
