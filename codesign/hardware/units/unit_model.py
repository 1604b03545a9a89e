"""`UnitModel`: area, delay and energy of a unit from its Verilog, with coefficients fitted to one cell library.

Models of two libraries are shipped (data/mac_model_*.yaml); `codesign calibrate` writes the same file for others.
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
# nodes with a shipped library of their own; other nodes are scaled from 7 nm
SHIPPED = {130.0: "mac_model_sg13g2.yaml"}
SHARES = ("steady", "data")  # shares of switching energy: constant, and proportional to product_activity
_SECTIONS = ("area_um2", "level_ps", "energy_fj", "energy", "errors", "provenance")

Vector = npt.NDArray[np.float64]


class Cuts:
    """Pipeline plans of a unit by clock period; each plan is computed once for the range of periods it applies to."""

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
    """The largest value of each property among the units that the coefficients are fitted to."""

    lanes: int
    significand_bits: int
    formats: int
    accumulator_bits: int


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Provenance of the coefficients: cell library, synthesis tool and units."""

    library: str
    voltage_v: float
    sha256: str  # of the library's files
    tool: str
    script: str
    clocks_ps: tuple[float, ...]  # clock targets
    units: int  # number of synthesised units
    synthesis_s: int | None = None  # total run time of synthesis; None in older files
    fitted: Fitted
    failed: tuple[str, ...]  # units that could not be synthesised, with the reason
    left_out: int = 0  # units of the whole grid that a quick one leaves out
    assumed: tuple[str, ...] = ()  # what the library's files leave open, and how it was read


class EnergySections(TypedDict, total=False):
    """Energy sections of a unit model's file; missing if no energy was measured."""

    energy_fj: dict[str, dict[str, CoefficientRow]]  # share -> part -> fJ per one-bit part and cycle
    energy: dict[str, CoefficientRow]  # clock, leakage and idle_share


class UnitModelFile(EnergySections):
    """A unit model's file, as written by `codesign calibrate`."""

    provenance: dict[str, object]
    area_um2: dict[str, CoefficientRow]
    level_ps: dict[str, CoefficientRow]
    errors: dict[str, dict[str, dict[str, float]]]  # relative: quantity -> evaluation -> quantile


@dataclass(frozen=True, eq=False)
class UnitModel:
    """Coefficients of one library, at its own node."""

    name: str
    area_um2: Vector  # [parts], per one-bit part
    ps: Vector  # [kinds], delay per logic level
    energy: Vector  # [SHARES, (value, low, high), parts] fJ per one-bit part and cycle; low without, high with glitches
    clock: Interval  # fJ per register and cycle
    leakage: Interval  # nW per um2
    idle: Interval  # switching of parts that a mode does not use, relative to used ones
    errors: Mapping[str, Mapping[str, Mapping[str, float]]]  # as in UnitModelFile
    provenance: Provenance

    @property
    def activities(self) -> tuple[str, ...]:
        """Names of the operand streams with which energy was measured."""
        return activities()

    def error(self, what: str) -> float:
        """90th percentile of the relative error on held-out families of formats; 0.5 if it was not measured."""
        return self.errors[what]["left_out_families"]["p90"] if what in self.errors else 0.5

    def plan(self, unit: Unit, period_ps: float) -> Plan:
        """The pipeline plan of a unit for a clock period."""
        return _cuts(self, unit.cut(())).at(period_ps)

    def area(self, unit: Unit) -> Interval:
        """Total area of the cells in um2, before placement."""
        return _around(float(counts_of(unit) @ self.area_um2), self.error("area"))

    def delay_ns(self, unit: Unit) -> Interval:
        """Longest register-to-register path."""
        return _around(float(unit_paths(unit).longest(self.ps) @ self.ps) * 1e-3, self.error("delay"))

    def leakage_nw(self, unit: Unit) -> Interval:
        """Leakage power of the whole unit."""
        area = float(counts_of(unit) @ self.area_um2)
        return self.leakage.scaled(Interval(area, area, area))

    def energy_pj(self, unit: Unit, mode: int, activity: str | None = None) -> Interval:
        """Dynamic energy of one product of a mode, including its share of registers, clock and accumulation.

        activity: one of `activities`; by default the mean of the networks, with an interval that covers all of them.
        Raises InputError on an unknown activity.
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
        switching[1] = min(switching[1], middle[1] * _below(error))
        switching[2] = max(switching[2], middle[2] * (1 + error))
        registers = counts_of(unit)[PARTS.index("register")]
        value, low, high = (switching + clock * registers) * 1e-3 / found.products
        return Interval(float(value), float(low), float(high))

    def extrapolation(self, unit: Unit) -> tuple[str, ...]:
        """The respects in which the unit exceeds those that the coefficients are fitted to; empty if none."""
        limits = self.provenance.fitted
        widest = max(max(mode.weight.significand, mode.activation.significand) for mode in unit.modes)
        found = {
            "dot length": (unit.lanes, limits.lanes),
            "bits of a multiplier's operand": (widest, limits.significand_bits),
            "formats": (len(unit.pairs), limits.formats),
            "bits of the accumulator": (unit.accumulator_bits, limits.accumulator_bits),
        }
        return tuple(f"{what} {has}, fitted up to {most}" for what, (has, most) in found.items() if has > most)


@lru_cache(maxsize=4096)  # as in `unit_paths`: each holds a graph of thousands of nodes
def _cuts(model: UnitModel, unit: Unit) -> Cuts:
    return Cuts(unit, dict(zip(KINDS, model.ps.tolist(), strict=True)))


def _around(value: float, error: float) -> Interval:
    return Interval(value, value * _below(error), value * (1 + error))


def _below(error: float) -> float:
    """The low end of a relative error; that of a quick grid may exceed 1."""
    return max(0.0, 1 - error)


@lru_cache(maxsize=64)  # libraries
def load_model(name: str) -> UnitModel:
    """A shipped model by file name, or another by path; arrays are read-only. Raises InputError on other files."""
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
    lists = {key: tuple(written.get(key, ())) for key in ("clocks_ps", "failed", "assumed")}
    return Provenance(**{**written, **lists, "fitted": Fitted(**written["fitted"])})


def _frozen(values: Vector) -> Vector:
    """A read-only array, since all units of a library share the coefficients."""
    values.setflags(write=False)
    return values


def _read(path: Path) -> dict[str, Any]:
    try:
        data = yaml.load(read_text(path), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (ValueError, RecursionError) as error:
        said = "nested too deeply" if isinstance(error, RecursionError) else error
        raise InputError(f"{path}: cannot be read ({said}); a unit model is written by codesign calibrate") from None
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", 0) + 1
        raise InputError(f"{path}:{line}: not YAML; a unit model is written by codesign calibrate") from None
    missing = [section for section in _SECTIONS if not isinstance(data, dict) or section not in data]
    if missing:
        raise InputError(f"{path}: not a unit model: no section {missing[0]}; write it with codesign calibrate")
    return dict(data)
