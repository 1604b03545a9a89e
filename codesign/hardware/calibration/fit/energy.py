"""Energy of synthesised units: switching of their gates on real operands, and its fit to their bills of materials.

A part's energy a cycle is a steady share plus one in proportion to how often the mode's products change on its
operands (`switching`). The low end of every energy counts each net at most once a cycle, the high end all the
glitches of equal gate delays (`calibration.netlist`); the value is the middle of the two. Wires are not laid
out: each pin that a net drives is charged with a wire of a few gate pitches.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from scipy.optimize import nnls

from codesign.hardware.calibration.fit.area_delay import Vector, held_out, summaries
from codesign.hardware.calibration.liberty.library import Library, read_liberty
from codesign.hardware.calibration.synthesis.netlist import Netlist, energy_fj, read_netlist, switching
from codesign.hardware.calibration.synthesis.stimulus import stimulus
from codesign.hardware.rtl.analyse.parts import PARTS, counts_of, own_parts
from codesign.hardware.rtl.emit.unit import Unit
from codesign.hardware.units.activities import activities
from codesign.hardware.units.switching import product_activity
from codesign.hardware.units.unit_model import SHARES

WIRE_FF_PER_UM = 0.2  # usual for signal wires, whose shape hardly changes from node to node
WIRE_PITCHES = 4  # length to each driven pin, in square roots of the mean cell area; an assumption
_SETTLED_AFTER = 4  # cycles in which the pipeline fills, left out
_PRIOR_WEIGHT = 0.02
_ROUNDS = 20
_LEAST_RATIO = 0.2


@dataclass(frozen=True)
class Job:
    """A unit whose netlist is to be simulated in every mode under every activity."""

    key: str
    family: str
    unit: Unit
    netlist: Path


@dataclass(frozen=True)
class Switched:
    """fJ of one cycle of a unit in one mode under an activity, without and with glitches; its clock; nW at rest."""

    family: str
    unit: Unit
    mode: int
    activity: str
    settled_fj: float
    glitching_fj: float
    clock_fj: float
    leakage_nw: float

    @property
    def own(self) -> Vector:
        """Bill of materials of the part that this mode uses, float64 [parts]."""
        return own_parts(self.unit, self.mode)

    @property
    def idle(self) -> Vector:
        """Bill of materials of the rest."""
        return counts_of(self.unit) - self.own

    @property
    def middle_fj(self) -> float:
        """Half of all glitches."""
        return (self.settled_fj + self.glitching_fj) / 2

    def switching(self, parts: Vector) -> Vector:
        """Steady and data-dependent counts of a bill of materials, float64 [2 x parts]."""
        return np.concatenate([parts, parts * product_activity(self.unit.modes[self.mode], self.activity)])


class Watched(Protocol):
    def __call__(self, name: str, done: int, total: int) -> None: ...


def measure(
    jobs: Sequence[Job], liberty: Sequence[Path], folder: Path, parallel: int = 2, progress: Watched | None = None
) -> tuple[Switched, ...]:
    """Simulate every job. liberty: files of the library with its power tables; folder: keeps energy.jsonl, from which
    a second call goes on."""
    log = folder / "energy.jsonl"
    known: dict[str, list[dict[str, Any]]] = {}
    if log.exists():
        for line in log.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            known[row["key"]] = row["rows"]
    missing = [job for job in jobs if job.key not in known]
    # a fresh interpreter each: torch does not survive a fork of its threads
    with ProcessPoolExecutor(max(1, parallel), get_context("spawn"), _open, (tuple(liberty),)) as pool:
        running = {pool.submit(_simulate, job): job for job in missing}
        with log.open("a", encoding="utf-8") as file:
            for done, future in enumerate(as_completed(running), 1):
                job = running[future]
                known[job.key] = future.result()
                file.write(json.dumps({"key": job.key, "rows": known[job.key]}) + "\n")
                file.flush()
                if progress:
                    progress(job.unit.name, len(jobs) - len(missing) + done, len(jobs))
    return tuple(Switched(job.family, job.unit, **row) for job in jobs for row in known[job.key])


_library: Library | None = None


def _open(liberty: tuple[Path, ...]) -> None:
    global _library
    _library = read_liberty(*liberty)


def _simulate(job: Job) -> list[dict[str, Any]]:
    assert _library is not None
    netlist = read_netlist(job.netlist, "unit", _library)
    wire = wire_ff(netlist)
    rows = []
    for mode in range(len(job.unit.modes)):
        for activity in activities():
            toggles = switching(netlist, stimulus(job.unit, mode, activity), count_from=_SETTLED_AFTER)
            energy = asdict(energy_fj(toggles, netlist, _library, wire))
            named = {
                "settled_fj": energy["zero_delay_fj"],
                "glitching_fj": energy["unit_delay_fj"],
                "clock_fj": energy["clock_fj"],
                "leakage_nw": energy["leakage_nw"],
            }
            rows.append({"mode": mode, "activity": activity} | {key: round(v, 4) for key, v in named.items()})
    return rows


def wire_ff(netlist: Netlist) -> float:
    """Capacitance of the wire to one driven pin."""
    groups = (*netlist.gates, *netlist.flip_flops)
    area = sum(group.count * group.cell.area_um2 for group in groups) / netlist.cells
    return float(WIRE_FF_PER_UM * WIRE_PITCHES * np.sqrt(area))


# -- fit --------------------------------------------------------------------------------------------


def fit_energy(rows: Sequence[Switched]) -> Vector:
    """fJ of one cell a cycle, without glitches and what they add, float64 [2, 2 x parts] by SHARES and PARTS.

    Only units of one format decide it.
    """
    single = [row for row in rows if len(row.unit.modes) == 1]
    counts = np.array([row.switching(row.own) for row in single])
    settled = np.array([row.settled_fj for row in single])
    glitching = np.array([row.glitching_fj for row in single])
    quiet = _non_negative(counts, settled, np.ones(len(single)))
    excess = _non_negative(counts, glitching, 1 - counts @ quiet / glitching)
    return np.array([quiet, excess])


def _non_negative(counts: Vector, scale: Vector, targets: Vector) -> Vector:
    """Non-negative least squares of counts over scale to the targets.

    Rows that come out large weigh less, so that twice too much is as wrong as half of it.
    """
    typical = max(float((targets * scale).sum()), 0.0) / counts.sum()
    size = counts.shape[1]
    if not typical:
        return np.zeros(size)
    lines = counts / scale[:, None]
    prior = np.eye(size) * _PRIOR_WEIGHT / typical
    weights = np.ones(len(lines))
    found = np.zeros(size)
    for _ in range(_ROUNDS):
        stacked = np.concatenate([targets * weights, np.full(size, _PRIOR_WEIGHT)])
        found = np.asarray(nnls(np.vstack([lines * weights[:, None], prior]), stacked)[0])
        weights = np.maximum(lines @ found, _LEAST_RATIO) ** -0.5
    return found


def energy_error(row: Switched, coefficients: Vector) -> float:
    """Predicted over simulated energy, less 1, in the middle between without and with glitches."""
    return float(row.switching(row.own) @ (coefficients[0] + coefficients[1] / 2)) / row.middle_fj - 1


def idle_share(rows: Sequence[Switched], coefficients: Vector) -> tuple[float, float, float]:
    """Switching of the parts that a mode leaves unused over that of used ones: median and central 80 % of the units."""
    middle = coefficients[0] + coefficients[1] / 2
    found = []
    for row in rows:
        unused = float(row.switching(row.idle) @ middle)
        if unused > 0:
            found.append((row.middle_fj - float(row.switching(row.own) @ middle)) / unused)
    if not found:
        return 0.0, 0.0, 0.0
    low, value, high = np.clip(np.quantile(found, (0.1, 0.5, 0.9)), 0, None)
    return float(value), float(low), float(high)


def energy_errors(rows: Sequence[Switched]) -> dict[str, dict[str, float]]:
    """Relative errors of units of one format under all activities, each left out with its variants or its family,
    and of units of several formats, which decide nothing but the share of idle parts."""
    single = [row for row in rows if len(row.unit.modes) == 1]
    shared = [row for row in rows if len(row.unit.modes) > 1]
    coefficients = fit_energy(single)
    idle = idle_share(shared, coefficients)[0]
    middle = coefficients[0] + coefficients[1] / 2
    found = {
        "in_sample": [energy_error(row, coefficients) for row in single],
        "left_out_units": held_out(single, fit_energy, energy_error, "unit"),
        "left_out_families": held_out(single, fit_energy, energy_error, "family"),
        "several_formats": [
            float((row.switching(row.own) + idle * row.switching(row.idle)) @ middle) / row.middle_fj - 1
            for row in shared
        ],
    }
    return summaries(found)


def energy_model(rows: Sequence[Switched], area_um2: Vector, source: str) -> dict[str, Any]:
    """Sections energy_fj (by share and part) and energy (clock, leakage, idle_share) of a unit model's file.

    area_um2: of one cell of each part.
    """

    def entry(value: float, low: float, high: float, unit: str) -> dict[str, Any]:
        digits = {"value": round(float(value), 5), "low": round(float(low), 5), "high": round(float(high), 5)}
        return digits | {"unit": unit, "source": source, "quality": "fitted"}

    if not rows:
        return {}
    settled, excess = fit_energy(rows)
    registers = PARTS.index("register")
    clock = [row.clock_fj / counts_of(row.unit)[registers] for row in rows]
    leakage = [row.leakage_nw / float(counts_of(row.unit) @ area_um2) for row in rows]
    idle, least, most = idle_share(rows, np.array([settled, excess]))
    return {
        "energy_fj": {
            share: {
                part: entry(low + more / 2, low, low + more, "fJ per one-bit part and cycle")
                for part, low, more in zip(PARTS, settled[own], excess[own], strict=True)
            }
            for share, own in zip(SHARES, (slice(len(PARTS)), slice(len(PARTS), None)), strict=True)
        },
        "energy": {
            "clock": entry(float(np.median(clock)), min(clock), max(clock), "fJ per register and cycle"),
            "leakage": entry(float(np.median(leakage)), min(leakage), max(leakage), "nW per um2"),
            "idle_share": entry(idle, least, most, "switching of unused parts over that of used ones"),
        },
    }
