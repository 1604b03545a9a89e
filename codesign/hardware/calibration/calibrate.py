"""Calibration: from Liberty files to coefficients of area, delay and energy, with errors and provenance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from codesign.errors import EnvironmentProblem, InputError
from codesign.formats import FormatPair
from codesign.hardware.calibration.fit.area_delay import (
    Sample,
    area_error,
    delay_error,
    fit_area,
    fit_delay,
    held_out,
    summaries,
)
from codesign.hardware.calibration.fit.energy import energy_errors, energy_model
from codesign.hardware.calibration.liberty.cells import cells_delay
from codesign.hardware.calibration.liberty.library import Library, read_liberty, write_merged
from codesign.hardware.calibration.synthesis import energy
from codesign.hardware.calibration.synthesis.batch import Job, Outcome, synthesize_many
from codesign.hardware.calibration.synthesis.energy import Simulated, Switched
from codesign.hardware.calibration.synthesis.grid import (
    PLANNED_LEVEL_PS,
    PLANNED_PROBE_PS,
    SHARED_FAMILY,
    Entry,
    grid,
    spread,
    units_of,
    unpipelined,
)
from codesign.hardware.calibration.synthesis.yosys import Tool, needed_yosys, synthesize
from codesign.hardware.rtl.analyse.parts import PARTS, bill_of_materials
from codesign.hardware.rtl.analyse.timing import KINDS
from codesign.hardware.rtl.emit.unit import Unit, build
from codesign.hardware.units.coefficients import CoefficientRow
from codesign.hardware.units.unit_model import Fitted, Provenance, UnitModelFile

PROBE = Unit((FormatPair.parse("int8"),), "int32", 1)
_PERIODS = (2.5, 1.25)  # the two clock targets, in multiples of the probe's delay
_LEAST_SAMPLES = 2 * len(PARTS)

Progress = Callable[[str, int, int, str], None]  # stage, done, total, name


@dataclass(frozen=True)
class MeasuredEnergy(Simulated):
    """A simulated energy with the toggles that the model counts for it."""

    toggles: list[list[float]]  # [2, TERMS], settled ones and glitches per cycle
    registers: int

    @classmethod
    def of(cls, row: Switched) -> MeasuredEnergy:
        toggles = [[float(f"{each:.5g}") for each in cause] for cause in row.toggles]
        return cls(**asdict(row.found), toggles=toggles, registers=row.registers)


@dataclass(frozen=True)
class MeasuredUnit:
    """A row of units.json: a synthesised unit and its measurements."""

    family: str
    pairs: list[str]
    rates: list[int]  # products per lane and cycle, by mode
    accumulator: str
    lanes: int
    cuts: list[str]  # steps that are followed by pipeline registers
    clock_ps: float  # clock target
    area_um2: float  # of its cells, before placement
    delay_ps: float | None  # longest path when mapped for speed; None if the tool reports none
    parts: dict[str, int]  # gates and registers by kind
    energy: list[MeasuredEnergy]  # by mode and activity


@dataclass(frozen=True)
class Calibration:
    """Measurements of the units in a library, from which the coefficients are fitted."""

    library: Library
    tool: Tool
    script: str
    clocks_ps: tuple[float, ...]
    samples: tuple[Sample, ...]  # synthesised units
    switched: tuple[Switched, ...]  # energies of the units, by mode and activity
    failures: tuple[tuple[str, str], ...]  # (unit, reason) of units that could not be synthesised
    synthesis_s: float  # total run time of synthesis
    left_out: int = 0  # units of the whole grid that a quick one leaves out

    def model(self) -> UnitModelFile:
        """Fit the coefficients; returns them with errors and provenance."""
        source = f"codesign calibrate: {self.library.name}, {self.tool.version}"
        timed = [sample for sample in self.samples if sample.delay_ps]
        levels = _rows(dict(zip(KINDS, fit_delay(timed), strict=True)), "ps per gate", source) if timed else {}
        area = fit_area(self.samples)
        energies = energy_model(self.switched, area, source)
        if self.library.assumed and "energy" in energies:
            energies["energy"]["leakage"]["quality"] = "assumption"
        return {
            "provenance": asdict(self.provenance()),
            "area_um2": _rows(dict(zip(PARTS, area, strict=True)), "um2 each", source),
            "level_ps": levels or _planned_levels(self.clocks_ps),
            **energies,
            "errors": self.errors(),
        }

    def provenance(self) -> Provenance:
        units = [sample.unit for sample in self.samples]
        modes = [mode for unit in units for mode in unit.modes]
        return Provenance(
            library=self.library.name,
            voltage_v=self.library.voltage_v,
            sha256=self.library.sha256,
            tool=self.tool.version,
            script=self.script,
            clocks_ps=self.clocks_ps,
            units=len(self.samples),
            synthesis_s=round(self.synthesis_s),
            fitted=Fitted(
                lanes=max(unit.lanes for unit in units),
                significand_bits=max(max(m.weight.significand, m.activation.significand) for m in modes),
                formats=max(len(unit.pairs) for unit in units),
                accumulator_bits=max(unit.accumulator_bits for unit in units),
            ),
            failed=tuple(f"{name}: {reason}" for name, reason in self.failures),
            left_out=self.left_out,
            assumed=self.library.assumed,
        )

    def errors(self) -> dict[str, dict[str, dict[str, float]]]:
        """Relative errors of area, delay and energy: in-sample, on held-out units and families, and of shared units.

        The 90th percentiles of a quick grid are upper bounds, see `summary`.
        """
        few = self.left_out > 0
        single = [sample for sample in self.samples if sample.family != SHARED_FAMILY]
        shared = [sample for sample in self.samples if sample.family == SHARED_FAMILY]
        coefficients = fit_area(self.samples)
        found = {
            "area": summaries(
                {
                    "in_sample": [area_error(s, coefficients) for s in single],
                    "left_out_units": held_out(single, fit_area, area_error, "unit"),
                    "left_out_families": held_out(single, fit_area, area_error, "family"),
                    "several_formats": _of(shared, held_out(self.samples, fit_area, area_error, "unit"), self.samples),
                },
                few=few,
            )
        }
        timed = [sample for sample in self.samples if sample.delay_ps]
        one = [sample for sample in timed if sample.family != SHARED_FAMILY]
        if one:
            levels = fit_delay(timed)
            found["delay"] = summaries(
                {
                    "in_sample": [delay_error(s, levels) for s in one],
                    "left_out_units": held_out(one, fit_delay, delay_error, "unit"),
                    "left_out_families": held_out(one, fit_delay, delay_error, "family"),
                    "several_formats": _of(shared, held_out(timed, fit_delay, delay_error, "unit"), timed),
                },
                few=few,
            )
        if self.switched:
            found["energy"] = energy_errors(self.switched, few=few)
        return found

    def results(self) -> list[MeasuredUnit]:
        """The raw measurements, as rows of units.json."""
        return [
            MeasuredUnit(
                family=sample.family,
                pairs=[str(pair) for pair in sample.unit.pairs],
                rates=list(sample.unit.rates),
                accumulator=sample.unit.accumulator,
                lanes=sample.unit.lanes,
                cuts=sorted(sample.unit.cuts),
                clock_ps=sample.clock_ps,
                area_um2=round(sample.area_um2, 4),
                delay_ps=None if sample.delay_ps is None else round(sample.delay_ps, 2),
                parts=dict(sample.parts),
                energy=[
                    MeasuredEnergy.of(row)
                    for row in self.switched
                    if (row.unit, row.clock_ps) == (sample.unit, sample.clock_ps)
                ],
            )
            for sample in self.samples
        ]


def calibrate(
    liberty: Sequence[Path],
    folder: Path,
    tool: str | None = None,
    clocks_ps: Sequence[float] = (),
    limit_s: float = 240.0,
    parallel: int = 2,
    progress: Progress | None = None,
    units: int | None = None,
    added: Sequence[FormatPair] = (),
) -> Calibration:
    """Synthesise the grid of units with a cell library and measure their energy.

    folder: keeps netlists, results.jsonl and energy.jsonl, from which a later call resumes. clocks_ps: two clock
    targets; by default 2.5 and 1.25 times the delay of an INT8 MAC. limit_s: time limit per unit. units: of a quick
    grid; a later call without it synthesises only the rest. added: pairs of formats whose units join the grid.
    Raises InputError for a Liberty file or a pair that cannot be used, EnvironmentProblem without yosys or if too few
    units were synthesised.
    """
    units_of(added)  # a pair that no unit computes is refused before anything is read or synthesised
    library = read_liberty(*liberty)
    left_out = 0 if units is None else len(unpipelined()) - len(spread(unpipelined(), units))
    found = needed_yosys(tool)
    folder.mkdir(parents=True, exist_ok=True)
    merged = folder / "library.lib"
    write_merged(list(liberty), merged)
    overhead = sum(cells_delay(library))
    if progress:
        progress("probe", 0, 1, f"an INT8 MAC with {found.name}")
    probe = synthesize(build(PROBE).text, "unit", merged, 1e6, limit_s, folder / "probe", found)
    if probe.delay_ps is None and not clocks_ps:
        raise InputError(f"{found.name} reports no delays: name two clock targets in ps (--clocks)")
    probe_ps = (probe.delay_ps + overhead) if probe.delay_ps else max(clocks_ps) / _PERIODS[0]
    clocks = tuple(clocks_ps) or tuple(float(f"{factor * probe_ps:.2g}") for factor in _PERIODS)
    scale = float(f"{probe_ps / PLANNED_PROBE_PS:.2g}")
    entries = grid(clocks, {kind: ps * scale for kind, ps in PLANNED_LEVEL_PS.items()}, units, added)
    jobs = [
        Job(f"{e.unit.name}_{e.clock_ps:g}ps", build(e.unit).text, "unit", merged, e.clock_ps, limit_s) for e in entries
    ]

    def show(outcome: Outcome, done: int, total: int) -> None:
        failed = outcome.failure
        if progress:
            progress("synthesis", done, total, outcome.job.name + (f": {failed.reason}" if failed else ""))

    outcomes = synthesize_many(jobs, folder, parallel, show, found)
    samples, failures = _sorted_out(entries, outcomes, overhead)
    if len(samples) < _LEAST_SAMPLES:
        reason = failures[0][1] if failures else "no units"
        raise EnvironmentProblem(
            f"only {len(samples)} of {len(entries)} units were synthesised, too few to fit: {reason}"
        )
    simulated = [
        energy.EnergyJob.of(entry.family, entry.unit, entry.clock_ps, outcome.synthesis.netlist_json)
        for entry, outcome in zip(entries, outcomes, strict=True)
        if outcome.synthesis
    ]
    watch = None if progress is None else lambda name, done, total: progress("energy", done, total, name)
    switched = energy.measure(simulated, liberty, folder, parallel, watch)
    seconds = sum(outcome.synthesis.seconds for outcome in outcomes if outcome.synthesis)
    return Calibration(library, found, probe.script, clocks, samples, switched, failures, seconds, left_out)


def _sorted_out(
    entries: Sequence[Entry], outcomes: Sequence[Outcome], overhead_ps: float
) -> tuple[tuple[Sample, ...], tuple[tuple[str, str], ...]]:
    samples, failures = [], []
    for entry, outcome in zip(entries, outcomes, strict=True):
        done = outcome.synthesis
        if done is None:
            failures.append((outcome.job.name, outcome.failure.reason if outcome.failure else "no result"))
            continue
        delay = None if done.delay_ps is None else done.delay_ps + overhead_ps
        parts = bill_of_materials(entry.unit)
        samples.append(Sample(entry.family, entry.unit, entry.clock_ps, parts, done.area_um2, delay))
    return tuple(samples), tuple(failures)


def _rows(values: Mapping[str, float], unit: str, source: str, quality: str = "fitted") -> dict[str, CoefficientRow]:
    return {
        name: {"value": round(float(value), 5), "unit": unit, "source": source, "quality": quality}
        for name, value in values.items()
    }


def _planned_levels(clocks_ps: Sequence[float]) -> dict[str, CoefficientRow]:
    """The delays of gates that the grid was pipelined with, used if the tool reports no delays."""
    scale = max(clocks_ps) / _PERIODS[0] / PLANNED_PROBE_PS
    planned = {kind: ps * scale for kind, ps in PLANNED_LEVEL_PS.items()}
    return _rows(planned, "ps per gate", "not measured", "assumption")


def _of(wanted: Sequence[Sample], errors: Sequence[float], samples: Sequence[Sample]) -> list[float]:
    inside = {id(sample) for sample in wanted}
    return [error for error, sample in zip(errors, samples, strict=True) if id(sample) in inside]
