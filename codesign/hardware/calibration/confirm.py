"""Units of found designs, synthesised and simulated: what the model says of them beside what is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codesign.errors import InputError
from codesign.hardware.calibration.calibrate import Progress
from codesign.hardware.calibration.liberty.cells import cells_delay
from codesign.hardware.calibration.liberty.library import Library, read_liberty, write_merged
from codesign.hardware.calibration.synthesis import energy
from codesign.hardware.calibration.synthesis.batch import Job, Outcome, synthesize_many
from codesign.hardware.calibration.synthesis.yosys import needed_yosys
from codesign.hardware.rtl.emit.unit import build
from codesign.hardware.units.activities import NOISE
from codesign.hardware.units.mac import MacUnit


@dataclass(frozen=True)
class Compared:
    """A modelled and a measured figure."""

    modelled: float
    measured: float | None  # None if the tool does not report it

    @property
    def error(self) -> float | None:
        """modelled / measured - 1."""
        return self.modelled / self.measured - 1 if self.measured else None


@dataclass(frozen=True)
class Confirmed:
    """A unit in the cell library of its model: figures of that library, whatever node the design scales them to."""

    unit: str
    clock_ps: float  # for which it is cut and mapped
    area_um2: Compared
    delay_ps: Compared  # longest register-to-register path when mapped for speed
    energy_pj: dict[str, Compared]  # pair -> of one product, mean over the bundled networks
    failure: str = ""  # why it was not measured


def confirm(
    units: Sequence[MacUnit],
    liberty: Sequence[Path],
    folder: Path,
    tool: str | None = None,
    limit_s: float = 240.0,
    parallel: int = 2,
    progress: Progress | None = None,
) -> list[Confirmed]:
    """Synthesise the units with the cell library of their model and simulate their energy, as calibration does.

    folder: keeps netlists, results.jsonl and energy.jsonl, from which a later call resumes. Raises InputError for a
    library that is not the one of a unit's model, EnvironmentProblem without yosys.
    """
    found = needed_yosys(tool)
    library = read_liberty(*liberty)
    for unit in units:
        _check(unit, library, liberty)
    folder.mkdir(parents=True, exist_ok=True)
    merged = folder / "library.lib"
    write_merged(list(liberty), merged)
    jobs = [Job(_name(unit), build(unit.rtl).text, "unit", merged, _period_ps(unit), limit_s) for unit in units]

    def show(outcome: Outcome, done: int, total: int) -> None:
        failed = outcome.failure
        if progress:
            progress("synthesis", done, total, outcome.job.name + (f": {failed.reason}" if failed else ""))

    outcomes = synthesize_many(jobs, folder, parallel, show, found)
    simulated = [
        energy.EnergyJob.of("", unit.rtl, _period_ps(unit), made.netlist_json)
        for unit, outcome in zip(units, outcomes, strict=True)
        if (made := outcome.synthesis)
    ]
    watch = None if progress is None else lambda name, done, total: progress("energy", done, total, name)
    switched = energy.measure(simulated, liberty, folder, parallel, watch)
    overhead = sum(cells_delay(library))
    return [_compared(unit, outcome, switched, overhead) for unit, outcome in zip(units, outcomes, strict=True)]


def _check(unit: MacUnit, library: Library, liberty: Sequence[Path]) -> None:
    fitted = unit.model.provenance
    if fitted.sha256 != library.sha256:
        files = " ".join(map(str, liberty))
        raise InputError(f"{files}: {library.name}; the units are priced by {unit.model.name}, of {fitted.library}")


def _name(unit: MacUnit) -> str:
    return f"{unit.rtl.name}_{_period_ps(unit):g}ps"


def _period_ps(unit: MacUnit) -> float:
    """The clock period at the node of the model's library."""
    return float(f"{1e3 / unit.clock_ghz / unit.scale('logic_delay').value:.4g}")


def _compared(unit: MacUnit, outcome: Outcome, switched: Sequence[energy.Switched], overhead_ps: float) -> Confirmed:
    rtl, made = unit.rtl, outcome.synthesis
    delay = None if made is None or made.delay_ps is None else made.delay_ps + overhead_ps
    energies = {}
    for mode, pair in enumerate(rtl.pairs):
        rows = [
            row.found
            for row in switched
            if (row.unit, row.clock_ps) == (rtl, _period_ps(unit)) and row.found.mode == mode
        ]
        energies_fj = [row.dynamic_fj for row in rows if row.activity != NOISE]
        measured = float(np.mean(energies_fj)) if energies_fj and made else None
        products = rtl.modes[mode].products
        energies[str(pair)] = Compared(
            unit.model.energy_pj(rtl, mode).value, None if measured is None else measured * 1e-3 / products
        )
    return Confirmed(
        unit=rtl.name,
        clock_ps=_period_ps(unit),
        area_um2=Compared(unit.model.area(rtl).value, made.area_um2 if made else None),
        delay_ps=Compared(unit.model.delay_ns(rtl).value * 1e3, delay),
        energy_pj=energies,
        failure=outcome.failure.reason if outcome.failure else "",
    )
