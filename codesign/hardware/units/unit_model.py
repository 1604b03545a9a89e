"""`UnitModel`: area, delay and energy of a unit from its gates, with coefficients fitted to one cell library.

Models of three libraries are shipped (data/mac_model_*.yaml); `codesign calibrate` writes the same file for others.
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
from codesign.hardware.rtl.analyse.parts import PARTS, unit_parts
from codesign.hardware.rtl.analyse.timing import KINDS, Plan, Steps, unit_paths
from codesign.hardware.rtl.emit.unit import Unit
from codesign.hardware.units.activities import NETWORKS, NOISE, activities
from codesign.hardware.units.coefficients import DATA, Coefficient, CoefficientRow, Interval, read_data
from codesign.hardware.units.switching import TERMS, Switching, switching

SHIPPED_7NM = "mac_model_asap7.yaml"
# nodes with a shipped library of their own; other nodes are scaled from 7 nm
SHIPPED = {130.0: "mac_model_sg13g2.yaml", 180.0: "mac_model_osu018.yaml"}
_SECTIONS = ("area_um2", "level_ps", "energy_fj", "energy", "errors", "provenance")

Vector = npt.NDArray[np.float64]


class Cuts:
    """Pipeline plans of a unit by clock period; each plan is computed once for the range of periods it applies to."""

    def __init__(self, unit: Unit, ps: Vector) -> None:
        self._steps, self._ps = Steps.of_unit(unit), ps
        self._plans: list[Plan] = []

    def at(self, period_ps: float) -> Plan:
        position = bisect_right(self._plans, period_ps, key=lambda plan: plan.low_ps) - 1
        if position >= 0 and period_ps < self._plans[position].high_ps:
            return self._plans[position]
        plan = self._steps.plan(period_ps, self._ps)
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

    energy_fj: dict[str, CoefficientRow]  # term -> fJ per toggle
    energy: dict[str, CoefficientRow]  # clock and leakage


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
    area_um2: Vector  # [parts], per gate or register
    ps: Vector  # [kinds], delay of a gate, or of a doubling of the pins that it drives
    energy_fj: Vector  # [TERMS], per toggle of a gate, or of a driven pin
    clock: Interval  # fJ per register and cycle
    leakage: Interval  # nW per um2
    errors: Mapping[str, Mapping[str, Mapping[str, float]]]  # as in UnitModelFile
    provenance: Provenance

    @property
    def activities(self) -> tuple[str, ...]:
        """Names of the operand streams with which energy was measured."""
        return activities()

    def error(self, what: str) -> float:
        """90th percentile of the relative error on held-out units or families, the larger; 0.5 if none was measured."""
        found = self.errors.get(what)
        return max(found[how]["p90"] for how in ("left_out_units", "left_out_families")) if found else 0.5

    def plan(self, unit: Unit, period_ps: float) -> Plan:
        """The pipeline plan of a unit for a clock period."""
        return _cuts(self, unit.cut(())).at(period_ps)

    def area(self, unit: Unit) -> Interval:
        """Total area of the cells in um2, before placement."""
        return _around(float(self.areas(unit).sum()), self.error("area"))

    def areas(self, unit: Unit) -> Vector:
        """The area in um2 by `SECTIONS` of the datapath."""
        return np.asarray(unit_parts(unit) @ self.area_um2)

    def delay_ns(self, unit: Unit) -> Interval:
        """Longest register-to-register path."""
        return _around(_delay_ps(self, unit) * 1e-3, self.error("delay"))

    def leakage_nw(self, unit: Unit) -> Interval:
        """Leakage power of the whole unit."""
        area = float(self.areas(unit).sum())
        return self.leakage.scaled(Interval(area, area, area))

    def energy_pj(self, unit: Unit, mode: int, activity: str | None = None) -> Interval:
        """Dynamic energy of one product of a mode, including its share of registers, clock and accumulation.

        activity: one of `activities`; by default the mean of the networks, with an interval that covers all of them.
        Raises InputError on an unknown activity.
        """
        if activity is not None and activity not in activities():
            raise InputError(f"unknown activity '{activity}'{nearest(activity, activities())}")
        names = (NOISE,) if activity == NOISE else NETWORKS
        fj = self.switched_fj(switching(unit, mode, names))
        if activity is not None:
            fj = fj[[names.index(activity)]]
        error, products = self.error("energy"), unit.modes[mode].products
        low, high = fj.min() * _below(error), fj.max() * (1 + error)
        return Interval(*(float(one) * 1e-3 / products for one in (fj.mean(), low, high)))

    def switched_fj(self, found: Switching) -> Vector:
        """Dynamic energy per cycle of any module on each activity, clock included."""
        return np.asarray((found.settled + found.glitches) @ self.energy_fj + self.clock.value * found.registers)

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


@lru_cache(maxsize=512)  # as in `unit_paths`: each holds a graph
def _cuts(model: UnitModel, unit: Unit) -> Cuts:
    return Cuts(unit, model.ps)


@lru_cache(maxsize=65536)  # a search asks for the delay of every unit again and again
def _delay_ps(model: UnitModel, unit: Unit) -> float:
    return float(unit_paths(unit).longest(model.ps) @ model.ps)


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
        other = {key: Coefficient.of(data["energy"][key]).interval for key in ("clock", "leakage")}
        return UnitModel(
            name=DATA.joinpath(name).stem if shipped else name,
            area_um2=_frozen(np.array([Coefficient.of(data["area_um2"][part]).value for part in PARTS])),
            ps=_frozen(np.array([Coefficient.of(data["level_ps"][kind]).value for kind in KINDS])),
            energy_fj=_frozen(np.array([Coefficient.of(data["energy_fj"][term]).value for term in TERMS])),
            clock=other["clock"],
            leakage=other["leakage"],
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
