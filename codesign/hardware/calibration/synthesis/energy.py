"""Energy of synthesised units from gate-level simulation on real operands, in every mode.

It is separated by cause: the clock, the nets that registers drive, the settled toggles of the nets that gates drive,
and their glitches, with each gate's own delay from the library (`synthesis.activity`). There is no layout: every driven
pin adds the capacitance of a wire of a few gate pitches.
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

from codesign.hardware.calibration.liberty.delays import CellDelay, cell_delays
from codesign.hardware.calibration.liberty.library import Library, read_liberty
from codesign.hardware.calibration.synthesis.activity import Activity, gate_steps, simulate
from codesign.hardware.calibration.synthesis.netlist import Costs, Netlist, costs, read_netlist
from codesign.hardware.rtl.emit.unit import Unit, build
from codesign.hardware.units.activities import activities
from codesign.hardware.units.operand_streams import port_words
from codesign.hardware.units.switching import COUNTED

WIRE_FF_PER_UM = 0.2  # typical of signal wires, and nearly independent of the node
WIRE_PITCHES = 4  # wire length per driven pin, in square roots of the mean cell area (assumption)
_WORDS = 3  # of 64 streams, one output each
_TIMED_EVERY = 2  # of the counted cycles, every second one is simulated with delays

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


@dataclass(frozen=True)
class Switched:
    """A simulated energy and its unit."""

    family: str
    unit: Unit
    found: Simulated


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
    return tuple(Switched(job.family, job.unit, found) for job in jobs for found in known[job.key])


@lru_cache(maxsize=1)
def _library(liberty: tuple[Path, ...]) -> tuple[Library, dict[tuple[str, str], CellDelay]]:
    """The library and the delays of its cells, read once per process."""
    library = read_liberty(*liberty)
    return library, cell_delays(library, library.cells)


def _simulate(job: EnergyJob, liberty: tuple[Path, ...]) -> list[Simulated]:
    library, delays = _library(liberty)
    netlist = read_netlist(job.netlist, "unit", library)
    cost = costs(netlist, library, wire_ff(netlist))
    steps, _ = gate_steps(netlist, delays, cost.load_ff)
    warm = max(build(job.unit).latency)
    cycles = warm + COUNTED
    rows = []
    for mode in range(len(job.unit.modes)):
        for activity in activities():
            ports = port_words(job.unit, mode, cycles, _WORDS, (activity,))
            found = simulate(netlist, ports, range(warm, cycles), range(warm, cycles, _TIMED_EVERY), steps)
            rows.append(energies(mode, activity, netlist, cost, found))
    return rows


def energies(mode: int, activity: str, netlist: Netlist, cost: Costs, found: Activity) -> Simulated:
    """The energy of a simulation by cause."""
    driven = np.zeros(netlist.nets, dtype=bool)
    for group in netlist.gates:
        for pin in group.cell.functions:
            driven[group.pins[pin]] = True
    settled = found.settled * cost.toggle_fj / found.transitions
    glitches = (found.timed - found.shortest) * cost.toggle_fj / found.timed_transitions
    parts = (cost.clock_fj, settled[~driven].sum(), settled[driven].sum(), glitches.sum(), cost.leakage_nw)
    return Simulated(mode, activity, *(round(float(part), 4) for part in parts))


def wire_ff(netlist: Netlist) -> float:
    """Assumed wire capacitance per driven pin in fF."""
    groups = (*netlist.gates, *netlist.flip_flops)
    area = sum(group.count * group.cell.area_um2 for group in groups) / netlist.cells
    return float(WIRE_FF_PER_UM * WIRE_PITCHES * np.sqrt(area))
