"""`UnitModel`: area, delay and energy of a unit from its Verilog and coefficients fitted to one cell library.

Shipped for two libraries (data/mac_model_*.yaml); `codesign calibrate` writes the same file for another.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
import yaml

from codesign.errors import InputError, nearest
from codesign.files import read_text
from codesign.hardware.rtl.analyse.parts import PARTS, counts_of, own_parts
from codesign.hardware.rtl.analyse.timing import KINDS, Plan, Steps, unit_paths
from codesign.hardware.rtl.emit.unit import Unit
from codesign.hardware.units.activities import NOISE, activities
from codesign.hardware.units.coefficients import DATA, Coefficient, CoefficientRow, Interval, read_data
from codesign.hardware.units.switching import product_activity

SHIPPED_7NM = "mac_model_asap7.yaml"
# nodes that a shipped library stands for itself, beside those that 7 nm is scaled to
SHIPPED = {130.0: "mac_model_sg13g2.yaml"}
SHARES = ("steady", "data")  # of switching: in any case, and in proportion to product_activity
_SECTIONS = ("area_um2", "level_ps", "energy_fj", "energy", "errors", "provenance")

Vector = npt.NDArray[np.float64]


class Cuts:
    """Where an uncut unit is cut for each clock period; every plan is made once for all periods that it holds for."""

    def __init__(self, unit: Unit, level_ps: Mapping[str, float]) -> None:
        self._steps, self._level_ps = Steps.of(unit), level_ps
        self._plans: list[Plan] = []

    def at(self, period_ps: float) -> Plan:
        position = bisect_right(self._plans, period_ps, key=lambda plan: plan.low_ps) - 1
        if position >= 0 and period_ps < self._plans[position].high_ps:
            return self._plans[position]
        plan = self._steps.plan(period_ps, self._level_ps)
        self._plans.insert(position + 1, plan)
        return plan


@dataclass(frozen=True)
class Fitted:
    """The largest units that the coefficients are fitted to, each in one respect."""

    lanes: int
    significand_bits: int
    formats: int
    accumulator_bits: int


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What the coefficients are fitted to: the cell library, the synthesiser with its script, and how many units.

    clocks_ps: the clock targets; synthesis_s: seconds of all runs together, None in files from before it was kept;
    failed: units that were not synthesised, each with the reason.
    """

    library: str
    voltage_v: float
    sha256: str
    tool: str
    script: str
    clocks_ps: tuple[float, ...]
    units: int
    synthesis_s: int | None = None
    fitted: Fitted
    failed: tuple[str, ...]


class EnergySections(TypedDict, total=False):
    """Of a unit model's file, by share and part, and clock, leakage and idle_share; missing where none was measured."""

    energy_fj: dict[str, dict[str, CoefficientRow]]
    energy: dict[str, CoefficientRow]


class UnitModelFile(EnergySections):
    """A unit model's file, as `codesign calibrate` writes it; errors: relative, by what, how evaluated and quantile."""

    provenance: dict[str, object]
    area_um2: dict[str, CoefficientRow]
    level_ps: dict[str, CoefficientRow]
    errors: dict[str, dict[str, dict[str, float]]]


@dataclass(frozen=True, eq=False)
class UnitModel:
    """Coefficients of one library, at its own node.

    area_um2: of a cell of each part; ps: of a level of each kind of logic; energy: fJ of a cell of each part and
    cycle, [steady or in proportion to product_activity, (value, low, high), parts], low without and high with
    all glitches; clock: fJ of a register and cycle; leakage: nW per um2; idle: switching of a mode's unused parts
    over that of used ones.
    """

    name: str
    area_um2: Vector
    ps: Vector
    energy: Vector
    clock: Interval
    leakage: Interval
    idle: Interval
    errors: Mapping[str, Mapping[str, Mapping[str, float]]]
    provenance: Provenance

    @property
    def activities(self) -> tuple[str, ...]:
        """What operands the energy was measured with: the bundled networks' and uniform noise."""
        return activities()

    def error(self, what: str) -> float:
        """90th percentile of the relative error on left-out families of formats; half where it was not measured."""
        return self.errors[what]["left_out_families"]["p90"] if what in self.errors else 0.5

    def plan(self, unit: Unit, period_ps: float) -> Plan:
        """Cuts of a unit for a clock."""
        return _cuts(self, unit.cut(())).at(period_ps)

    def area(self, unit: Unit) -> Interval:
        """um2 of all cells, before placement."""
        return _around(float(counts_of(unit) @ self.area_um2), self.error("area"))

    def delay_ns(self, unit: Unit) -> Interval:
        """Longest path from register to register."""
        return _around(float(unit_paths(unit).longest(self.ps) @ self.ps) * 1e-3, self.error("delay"))

    def leakage_nw(self, unit: Unit) -> Interval:
        """Power of the whole unit at rest."""
        area = float(counts_of(unit) @ self.area_um2)
        return self.leakage.scaled(Interval(area, area, area))

    def energy_pj(self, unit: Unit, mode: int, activity: str | None = None) -> Interval:
        """Dynamic energy of one product of a mode, its share of registers, clock and accumulation included.

        activity: one of `activities`; by default the mean of the networks, with the interval of all of them.
        Raises InputError on another.
        """
        if activity is not None and activity not in activities():
            raise InputError(f"unknown activity '{activity}'{nearest(activity, activities())}")
        found = unit.modes[mode]
        names = [activity] if activity else [name for name in activities() if name != NOISE]
        each = [product_activity(found, name) for name in names]
        changes = np.array([np.mean(each), min(each), max(each)])
        own = own_parts(unit, mode)
        rest = counts_of(unit) - own
        idle, clock = (np.array([x.value, x.low, x.high]) for x in (self.idle, self.clock))
        error = self.error("energy")

        def switched(rows: Vector) -> Vector:
            return np.asarray(rows @ own + idle * (rows @ rest))

        switching = switched(self.energy[0] + changes[:, None] * self.energy[1])
        middle = switched(self.energy[0, 0] + changes[:, None] * self.energy[1, 0])
        switching[1] = min(switching[1], middle[1] * (1 - error))
        switching[2] = max(switching[2], middle[2] * (1 + error))
        registers = counts_of(unit)[PARTS.index("register")]
        value, low, high = (switching + clock * registers) * 1e-3 / found.products
        return Interval(float(value), float(low), float(high))

    def extrapolation(self, unit: Unit) -> tuple[str, ...]:
        """In what respects the unit lies beyond every one that the coefficients are fitted to; empty within."""
        limits = self.provenance.fitted
        widest = max(max(mode.weight.significand, mode.activation.significand) for mode in unit.modes)
        found = {
            "dot length": (unit.lanes, limits.lanes),
            "bits of a multiplier's operand": (widest, limits.significand_bits),
            "formats": (len(unit.pairs), limits.formats),
            "bits of the accumulator": (unit.accumulator_bits, limits.accumulator_bits),
        }
        return tuple(f"{what} {has}, fitted up to {most}" for what, (has, most) in found.items() if has > most)


@lru_cache(maxsize=4096)  # as many units as `unit_paths` keeps: each holds a graph of thousands of nodes
def _cuts(model: UnitModel, unit: Unit) -> Cuts:
    return Cuts(unit, dict(zip(KINDS, model.ps.tolist(), strict=True)))


def _around(value: float, error: float) -> Interval:
    return Interval(value, value * (1 - error), value * (1 + error))


@lru_cache(maxsize=64)  # libraries; one that left the cache is read again, to the same numbers
def load_model(name: str) -> UnitModel:
    """A shipped model by file name, or a user's by path, its arrays read-only. Raises InputError for another file."""
    shipped = name in (SHIPPED_7NM, *SHIPPED.values())
    data = read_data(name) if shipped else _read(Path(name))
    try:
        energy = np.array(
            [
                [[(c := Coefficient.of(data["energy_fj"][share][p])).value, c.low, c.high] for p in PARTS]
                for share in SHARES
            ]
        ).transpose(0, 2, 1)
        other = {key: Coefficient.of(data["energy"][key]).interval for key in ("clock", "leakage", "idle_share")}
        return UnitModel(
            name=DATA.joinpath(name).stem if shipped else name,
            area_um2=_frozen(np.array([Coefficient.of(data["area_um2"][part]).value for part in PARTS])),
            ps=_frozen(np.array([Coefficient.of(data["level_ps"][kind]).value for kind in KINDS])),
            energy=_frozen(energy),
            clock=other["clock"],
            leakage=other["leakage"],
            idle=other["idle_share"],
            errors=data["errors"],
            provenance=_provenance(data["provenance"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{name}: not a complete unit model ({error}); write it with codesign calibrate") from None


def _provenance(written: Any) -> Provenance:
    lists = {key: tuple(written[key]) for key in ("clocks_ps", "failed")}
    return Provenance(**{**written, **lists, "fitted": Fitted(**written["fitted"])})


def _frozen(values: Vector) -> Vector:
    """Without write access: every unit of a library reads the same coefficients."""
    values.setflags(write=False)
    return values


def _read(path: Path) -> dict[str, Any]:
    try:
        data = yaml.load(read_text(path), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", 0) + 1
        raise InputError(f"{path}:{line}: not YAML; a unit model is written by codesign calibrate") from None
    missing = [section for section in _SECTIONS if not isinstance(data, dict) or section not in data]
    if missing:
        raise InputError(f"{path}: not a unit model: no section {missing[0]}; write it with codesign calibrate")
    return dict(data)
