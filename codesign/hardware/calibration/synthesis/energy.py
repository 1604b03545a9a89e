"""Energy of synthesised units from gate-level simulation on real operands, in every mode.

`settled_fj` counts each net at most once per cycle, `glitching_fj` includes all glitches under equal gate delays
(`synthesis.netlist`). There is no layout: every driven pin adds the capacitance of a wire of a few gate pitches.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from codesign.hardware.calibration.liberty.library import Library, read_liberty
from codesign.hardware.calibration.synthesis.netlist import Netlist, energy_fj, read_netlist, switching
from codesign.hardware.calibration.synthesis.stimulus import stimulus
from codesign.hardware.rtl.analyse.parts import counts_of, own_parts
from codesign.hardware.rtl.emit.unit import Unit
from codesign.hardware.units.activities import activities
from codesign.hardware.units.switching import product_activity

WIRE_FF_PER_UM = 0.2  # typical of signal wires, and nearly independent of the node
WIRE_PITCHES = 4  # wire length per driven pin, in square roots of the mean cell area (assumption)
_SETTLED_AFTER = 4  # cycles in which the pipeline fills, which are not counted

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class EnergyJob:
    """A unit whose netlist is to be simulated in every mode with every operand stream."""

    key: str
    family: str
    unit: Unit
    netlist: Path


@dataclass(frozen=True)
class Simulated:
    """Energy of a unit in one mode with one operand stream, as stored in energy.jsonl and units.json."""

    mode: int
    activity: str  # operand stream
    settled_fj: float  # per cycle without glitches and clock
    glitching_fj: float  # per cycle with glitches, without clock
    clock_fj: float  # per cycle
    leakage_nw: float


@dataclass(frozen=True)
class Switched:
    """Energy of a unit in one mode with one operand stream; fields as in `Simulated`."""

    family: str
    unit: Unit
    mode: int
    activity: str
    settled_fj: float
    glitching_fj: float
    clock_fj: float
    leakage_nw: float

    @classmethod
    def of(cls, job: EnergyJob, found: Simulated) -> Switched:
        return cls(job.family, job.unit, **asdict(found))

    @property
    def simulated(self) -> Simulated:
        """The measurement without the unit."""
        return Simulated(self.mode, self.activity, self.settled_fj, self.glitching_fj, self.clock_fj, self.leakage_nw)

    @property
    def own(self) -> Vector:
        """Bill of materials of the part that this mode uses, float64 [parts]."""
        return own_parts(self.unit, self.mode)

    @property
    def idle(self) -> Vector:
        """Bill of materials of the parts that this mode does not use."""
        return counts_of(self.unit) - self.own

    @property
    def middle_fj(self) -> float:
        """Mean of the energies without and with glitches."""
        return (self.settled_fj + self.glitching_fj) / 2

    def switching(self, parts: Vector) -> Vector:
        """A bill of materials in constant and activity-proportional counts, float64 [2 x parts]."""
        return np.concatenate([parts, parts * product_activity(self.unit.modes[self.mode], self.activity)])


class Watched(Protocol):
    def __call__(self, name: str, done: int, total: int) -> None: ...


def measure(
    jobs: Sequence[EnergyJob], liberty: Sequence[Path], folder: Path, parallel: int = 2, progress: Watched | None = None
) -> tuple[Switched, ...]:
    """Simulate every job in parallel processes.

    liberty: files of the library with power tables; folder: keeps energy.jsonl, from which a later call resumes.
    """
    log = folder / "energy.jsonl"
    known: dict[str, list[Simulated]] = {}
    if log.exists():
        for line in log.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            known[row["key"]] = [Simulated(**fields) for fields in row["rows"]]
    missing = [job for job in jobs if job.key not in known]
    # spawn: torch's threads do not survive a fork
    with ProcessPoolExecutor(max(1, parallel), get_context("spawn")) as pool:
        running = {pool.submit(_simulate, job, tuple(liberty)): job for job in missing}
        with log.open("a", encoding="utf-8") as file:
            for done, future in enumerate(as_completed(running), 1):
                job = running[future]
                known[job.key] = future.result()
                rows = [asdict(found) for found in known[job.key]]
                file.write(json.dumps({"key": job.key, "rows": rows}) + "\n")
                file.flush()
                if progress:
                    progress(job.unit.name, len(jobs) - len(missing) + done, len(jobs))
    return tuple(Switched.of(job, found) for job in jobs for found in known[job.key])


@lru_cache(maxsize=1)
def _library(liberty: tuple[Path, ...]) -> Library:
    """The library, read once per process."""
    return read_liberty(*liberty)


def _simulate(job: EnergyJob, liberty: tuple[Path, ...]) -> list[Simulated]:
    library = _library(liberty)
    netlist = read_netlist(job.netlist, "unit", library)
    wire = wire_ff(netlist)
    rows = []
    for mode in range(len(job.unit.modes)):
        for activity in activities():
            toggles = switching(netlist, stimulus(job.unit, mode, activity), count_from=_SETTLED_AFTER)
            energy = energy_fj(toggles, netlist, library, wire)
            rows.append(
                Simulated(
                    mode,
                    activity,
                    settled_fj=round(energy.zero_delay_fj, 4),
                    glitching_fj=round(energy.unit_delay_fj, 4),
                    clock_fj=round(energy.clock_fj, 4),
                    leakage_nw=round(energy.leakage_nw, 4),
                )
            )
    return rows


def wire_ff(netlist: Netlist) -> float:
    """Assumed wire capacitance per driven pin in fF."""
    groups = (*netlist.gates, *netlist.flip_flops)
    area = sum(group.count * group.cell.area_um2 for group in groups) / netlist.cells
    return float(WIRE_FF_PER_UM * WIRE_PITCHES * np.sqrt(area))
