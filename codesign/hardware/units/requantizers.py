"""Area and energy of requantizers (`rtl.emit.requantize`), which turn results into codes of the next layer's format."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import floor, log2

from codesign.errors import InputError
from codesign.formats.format import datapath
from codesign.hardware.rtl.analyse.elaborate import gates
from codesign.hardware.rtl.analyse.parts import Counts, counts_of
from codesign.hardware.rtl.analyse.timing import Paths, Steps
from codesign.hardware.rtl.emit.requantize import (
    BuiltRequantizer,
    Requantizer,
    build_requantizer,
    whole_requantizer,
)
from codesign.hardware.units.coefficients import Interval, table
from codesign.hardware.units.mac import MacUnit
from codesign.hardware.units.results import read_results
from codesign.hardware.units.switching import Switching, switched
from codesign.hardware.units.unit_model import UnitModel

_PERIODS = 4  # clock periods per octave for which requantizers are cut: a search over clocks and nodes builds few


@dataclass(frozen=True)
class RequantizerCost:
    """A requantizer per number that it takes in a cycle."""

    kind: str  # cast, given, range or block, as in `Requantizer`
    area_um2: Interval
    energy_pj: Interval  # per number; without ranges and scales per token, which the vector unit finds


def requantizer_cost(name: str, unit: MacUnit) -> RequantizerCost | None:
    """Cost of requantizing results to a format, in the library, at the node and clock of `unit`; None without one.

    Area and energy are those of the generator's record, as of compute units, on results of the bundled networks; their
    intervals are those of synthesised requantizers, which the coefficients are not fitted to (system.yaml). A format
    with zero points costs what it costs without them, which is a lower bound: none is built.
    """
    found, converter = requantizer_to(name, unit), requantizer_to(datapath(name), unit)
    if found is None or converter is None:
        return None
    costs = {"area": modelled_um2(found, unit.model), "energy": modelled_pj(converter, unit.model)}
    errors = table("system.yaml", "requantizer")
    area, energy = (
        errors[key].interval.scaled(unit.scale(f"logic_{key}")).scaled(Interval(cost, cost, cost))
        for key, cost in costs.items()
    )
    return RequantizerCost(found.kind, area, energy)


def modelled_um2(unit: Requantizer, model: UnitModel) -> float:
    """Cell area per number of a cycle, at the model's node."""
    return float(_counts(unit).sum(axis=0) @ model.area_um2) / unit.lanes


def modelled_pj(unit: Requantizer, model: UnitModel) -> float:
    """Dynamic energy per number at the model's node, the mean of the networks."""
    return float(model.switched_fj(_switching(unit)).mean()) * 1e-3 / unit.lanes


def modelled_delay_ps(unit: Requantizer, model: UnitModel) -> float:
    """The longest register-to-register path at the model's node."""
    return float(Paths.of(gates(_built(unit).assignments)).longest(model.ps) @ model.ps)


def requantizer_to(name: str, unit: MacUnit) -> Requantizer | None:
    """The requantizer to a format, pipelined for the clock of `unit`; None for a format that has none."""
    try:
        return pipelined(whole_requantizer(name.replace("_zp", "")), unit)
    except InputError:
        return None


def pipelined(whole: Requantizer, unit: MacUnit) -> Requantizer:
    """The requantizer cut for the clock of `unit`."""
    return cut_for(whole, unit.model, 1e3 / unit.clock_ghz / unit.scale("logic_delay").value)


def cut_for(whole: Requantizer, model: UnitModel, period_ps: float) -> Requantizer:
    """The requantizer cut so that no stage takes longer than the period; a longer single step is not split.

    The period is rounded down to one of `_PERIODS` per octave.
    """
    return _cut(whole, model, floor(_PERIODS * log2(period_ps)))


@lru_cache(maxsize=1024)
def _cut(unit: Requantizer, model: UnitModel, period: int) -> Requantizer:
    built = _built(unit)
    steps = Steps.of(gates(built.assignments), built.boundaries)
    return replace(unit, cuts=steps.plan(2 ** (period / _PERIODS), model.ps).cuts)


@lru_cache(maxsize=8)  # those of blocks take megabytes
def _built(unit: Requantizer) -> BuiltRequantizer:
    return build_requantizer(unit)


@lru_cache(maxsize=1024)
def _counts(unit: Requantizer) -> Counts:
    return counts_of(gates(_built(unit).assignments))


@lru_cache(maxsize=1024)
def _switching(unit: Requantizer) -> Switching:
    built = _built(unit)
    return switched(gates(built.assignments), read_results(built))
