"""Energy of synthesised units from gate-level simulation on real operands, in every mode.

It is separated by cause: the clock, the nets that registers drive, the settled toggles of the nets that gates drive,
and their glitches, with each gate's own delay from the library (`synthesis.activity`). There is no layout: every driven
pin adds the capacitance of a wire of a few gate pitches.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from codesign.hardware.calibration.liberty.delays import cell_delays
from codesign.hardware.calibration.liberty.library import Library, read_liberty
from codesign.hardware.calibration.synthesis.activity import gate_steps, simulate
from codesign.hardware.calibration.synthesis.netlist import Netlist, costs, read_netlist
from codesign.hardware.rtl.emit.unit import Unit
from codesign.hardware.units.activities import activities
from codesign.hardware.units.operand_streams import CODES, OPERANDS
from codesign.hardware.units.switching import Stimulus, switching

_STIMULUS = 3  # counts the changes of what is simulated, so that a calibration that goes on measures anew
WIRE_FF_PER_UM = 0.2  # typical of signal wires, and nearly independent of the node
WIRE_PITCHES = 4  # wire length per driven pin, in square roots of the mean cell area (assumption)

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class EnergyJob:
    """A unit whose netlist is to be simulated in every mode with every operand stream."""

    key: str
    family: str
    unit: Unit
    clock_ps: float  # for which it was mapped
    netlist: Path

    @classmethod
    def of(cls, family: str, unit: Unit, clock_ps: float, netlist: Path) -> EnergyJob:
        """A job whose key names the netlist's folder, which is a hash of what it was made from, and the stimulus."""
        operands = hashlib.sha256(OPERANDS.read_bytes() + CODES.read_bytes()).hexdigest()[:16]
        return cls(f"{netlist.parent.name} {operands} {_STIMULUS}", family, unit, clock_ps, netlist)


@dataclass(frozen=True)
class Simulated:
    """Energy of a unit per cycle in one mode with one operand stream, as stored in energy.jsonl and units.json."""

    mode: int
    activity: str  # operand stream
    clock_fj: float  # of the clock pins, in every cycle
    register_fj: float  # of the nets that registers and ports drive
    settled_fj: float  # of the nets that gates drive, at most one toggle per cycle
    glitch_fj: float  # of all other toggles of these nets
    leakage_nw: float

    @property
    def dynamic_fj(self) -> float:
        """All but leakage."""
        return self.clock_fj + self.register_fj + self.settled_fj + self.glitch_fj


@dataclass(frozen=True, eq=False)
class Switched:
    """A simulated energy with its unit, and the toggles that the model counts for it."""

    family: str
    unit: Unit
    clock_ps: float  # for which it was mapped
    found: Simulated
    toggles: Vector  # [2, TERMS], settled ones and glitches per cycle
    registers: int

    @classmethod
    def of(cls, job: EnergyJob, found: Simulated) -> Switched:
        names = activities()
        counted, at = switching(job.unit, found.mode, names), names.index(found.activity)
        toggles = np.stack([counted.settled[at], counted.glitches[at]])
        return cls(job.family, job.unit, job.clock_ps, found, toggles, counted.registers)

    @classmethod
    def stored(cls, family: str, unit: Unit, clock_ps: float, row: Mapping[str, Any]) -> Switched:
        """A row of ``energy`` in units.json."""
        found = Simulated(**{field.name: row[field.name] for field in fields(Simulated)})
        return cls(family, unit, clock_ps, found, np.array(row["toggles"]), row["registers"])


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
def _simulator(liberty: tuple[Path, ...]) -> Simulator:
    """That of a library, read once per process."""
    return Simulator(read_liberty(*liberty))


def _simulate(job: EnergyJob, liberty: tuple[Path, ...]) -> list[Simulated]:
    simulator = _simulator(liberty)
    return simulator.energies(job.unit, read_netlist(job.netlist, "unit", simulator.library), activities())


class Simulator:
    """Simulates netlists of the cells of one library."""

    def __init__(self, library: Library) -> None:
        self.library, self._delays = library, cell_delays(library, library.cells)

    def energies(self, unit: Unit, netlist: Netlist, names: Sequence[str]) -> list[Simulated]:
        """Energies in every mode on every one of the activities; the netlist has the ports of the unit."""
        modes = range(len(unit.modes))
        return self.simulated(netlist, [Stimulus.of(unit, mode, names) for mode in modes], names)

    def simulated(self, netlist: Netlist, modes: Sequence[Stimulus], names: Sequence[str]) -> list[Simulated]:
        """Energies of any module on what it reads in each of its modes, by the activities of the stimulus."""
        cost = costs(netlist, self.library, wire_ff(netlist))
        steps = gate_steps(netlist, self._delays, cost.load_ff)
        driven = np.zeros(netlist.nets, dtype=bool)
        for group in netlist.gates:
            for pin in group.cell.functions:
                driven[group.pins[pin]] = True
        rows = []
        for mode, read in enumerate(modes):
            found = simulate(netlist, read.ports, read.counted, read.timed, steps, read.masks)
            settled, glitches = (each * cost.toggle_fj[:, None] for each in (found.settled, found.glitches))
            figures = (settled[~driven].sum(axis=0), settled[driven].sum(axis=0), glitches.sum(axis=0))
            for name, *parts in zip(names, *figures, strict=True):
                fj = [round(float(part), 4) for part in (cost.clock_fj, *parts, cost.leakage_nw)]
                rows.append(Simulated(mode, name, *fj))
        return rows


def wire_ff(netlist: Netlist) -> float:
    """Assumed wire capacitance per driven pin in fF."""
    groups = (*netlist.gates, *netlist.flip_flops)
    area = sum(group.count * group.cell.area_um2 for group in groups) / netlist.cells
    return float(WIRE_FF_PER_UM * WIRE_PITCHES * np.sqrt(area))
