"""Exhaustive search of hardware: every accelerator of a space with its given formats, compared exactly in one pass.

Nothing is measured or proposed. The grid is priced in chunks, and for each choice of assignments only the front of all
chunks so far is kept, so that memory is that of the grid's arrays and of one chunk.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from codesign.designs import Accumulators, Baseline, Design, NetworkRecord, Study, StudyRecord, save_study
from codesign.errors import InputError
from codesign.files import csv_text, read_text
from codesign.hardware import AssignmentTotals
from codesign.hardware.schedule.chunks import CHUNK, chunk_of, priced
from codesign.search.engine.pareto import nondominated
from codesign.search.engine.points import Designs
from codesign.search.results.records import design_of, front_of, layer_table, peak_memory_bytes
from codesign.search.space.axes import grid_parameters
from codesign.search.space.objectives import column
from codesign.search.space.resolve import SearchSpace
from codesign.search.study.claim import check_folder, claim_folder
from codesign.search.study.progress import Progress
from codesign.search.study.representatives import balanced, representatives

_EQUAL_BITS = 40  # of the significand's 53: equal costs, summed in another order, may differ in the others

Choice = tuple[int, ...]  # which of its assignments each network takes


@dataclass(frozen=True)
class Sweep:
    """The result of pricing every accelerator."""

    space: SearchSpace
    seed: int
    folder: Path
    fronts: dict[Choice, Designs]  # all non-dominated designs of each choice
    priced: int  # number of designs that can be built
    seconds: float

    @cached_property
    def front(self) -> Designs:
        """The front over all choices."""
        return _front(self.space, list(self.fronts.values()))


def run_sweep(
    space: SearchSpace, folder: Path, *, seed: int = 0, progress: Progress | None = None, chunk: int = CHUNK
) -> Sweep:
    """Price every accelerator of a space whose formats are given.

    Args:
        space: a space of fixed networks.
        folder: the study's folder.
        seed: of the choice of representatives.
        progress: called with (stage, done, total, detail).
        chunk: accelerators priced at a time; the result does not depend on it.
    Raises:
        InputError: no accelerator runs the networks within the budgets, or `folder` holds something else.
        EnvironmentProblem: `folder` cannot be written.
    """
    if (folder / "study.db").exists():
        raise InputError(f"{folder}: holds a study with measured designs; give another --out")
    check_folder(folder, space)
    claim_folder(folder, space)
    report = progress or (lambda *_: None)
    started, buildable = time.monotonic(), 0
    totals = _totals(space)
    fronts = {choice: _front(space, []) for choice in _choices(space)}
    for part in priced(space.grid, totals, chunk):
        area, start = part.areas.value.sum(axis=1), part.start
        for choice in fronts:
            found, possible = _designs(space, choice, area, part.costs)
            fronts[choice] = _front(space, [fronts[choice], replace(found, accelerator=found.accelerator + start)])
            buildable += possible
        report("accelerators", min(start + chunk, len(space.grid)), len(space.grid), "")
    if not any(map(len, fronts.values())):
        raise _none(space, totals, buildable)
    return Sweep(space, seed, folder, fronts, buildable, time.monotonic() - started)


def check_sweep(space: SearchSpace) -> None:
    """Raise InputError as `run_sweep` if no accelerator is a design; the first that is one ends the check."""
    totals, buildable = _totals(space), 0
    for part in priced(space.grid, totals):
        for choice in _choices(space):
            found, possible = _designs(space, choice, part.areas.value.sum(axis=1), part.costs)
            buildable += possible
            if len(found):
                return
    raise _none(space, totals, buildable)


def _totals(space: SearchSpace) -> dict[str, AssignmentTotals]:
    return {name: AssignmentTotals(n.workload, n.assignments) for name, n in space.fixed.items()}


def _choices(space: SearchSpace) -> Iterator[Choice]:
    return itertools.product(*(range(len(n.assignments)) for n in space.fixed.values()))


def _none(space: SearchSpace, totals: Mapping[str, AssignmentTotals], buildable: int) -> InputError:
    """The error that no accelerator is a design, with the reason; buildable: how many could run the networks."""
    why = "loosen a budget"
    if not buildable:
        roomy = replace(space.grid, values={**space.grid.values, "dram_gib": np.full(len(space.grid), 2.0**20)})
        chunks = (chunk_of(roomy, start, start + CHUNK) for start in range(0, len(roomy), CHUNK))
        runs = (all(np.isfinite(totals[n].on(chips)["latency_s"]).any() for n in totals) for chips in chunks)
        why = "their SRAM holds no tile of some layer, or no unit has all formats"
        if any(runs):
            why = "their DRAM is too small for the networks; raise dram_gib or dram_channels, or list a flash"
    return InputError(f"{space.path}: none of {len(space.grid)} accelerators is a design: {why}")


def _designs(
    space: SearchSpace, choice: Choice, area: np.ndarray, costs: Mapping[str, Mapping[str, np.ndarray]]
) -> tuple[Designs, int]:
    """The designs within the budgets, and the number of accelerators that can run the networks.

    Args:
        space: the space.
        choice: which assignment each network takes.
        area: mm2 [A].
        costs: network -> field -> [A, assignments].
    """
    of_network = dict(zip(costs, choice, strict=True))
    chosen = {n: {field: values[:, of_network[n]] for field, values in cost.items()} for n, cost in costs.items()}
    possible = np.all([np.isfinite(cost["latency_s"]) for cost in chosen.values()], axis=0)
    kept = possible.copy()
    for objective, limit in space.budgets:
        kept &= column(objective, area, {}, chosen) <= limit
    rows = np.flatnonzero(kept)
    values = np.stack([column(o, area, {}, chosen)[rows] for o in space.objectives], axis=1)
    fraction, exponent = np.frexp(values)
    values = np.ldexp(np.round(np.ldexp(fraction, _EQUAL_BITS)), exponent - _EQUAL_BITS)
    return Designs(rows, {n: np.full(len(rows), s) for n, s in of_network.items()}, values), int(possible.sum())


def _front(space: SearchSpace, fronts: list[Designs]) -> Designs:
    """The non-dominated designs of several fronts, by accelerator; of equal designs that of the first accelerator."""
    merged = Designs.concatenate(fronts, list(space.fixed), len(space.objectives))
    merged = merged.take(np.argsort(merged.accelerator, kind="stable"))
    return merged.take(np.flatnonzero(nondominated(merged.objectives)))


def write_sweep(found: Sweep, progress: Progress | None = None) -> Study:
    """Write the study's folder of a sweep, including fronts.csv, and return the study."""
    report = progress or (lambda *_: None)
    space, started = found.space, time.monotonic()
    shown = found.front.take(representatives(found.front, space.spec.search.front_size, found.seed))
    designs = []
    for row in range(len(shown)):
        report("designs", row, len(shown), "")
        designs.append(_design(space, shown, row))
    report("designs", len(shown), len(shown), "")
    worst = found.front.objectives.max(axis=0)
    front = front_of(
        space,
        found.front,
        designs,
        seed=found.seed,
        reference=worst + 0.05 * np.maximum(np.abs(worst), 1e-12),
        evaluations=0,
    )
    timings = {"pricing": found.seconds, "designs": time.monotonic() - started}
    record = _record(found, designs, designs[balanced(shown)].id, timings)
    written = Study(found.folder, front, record, {})
    save_study(written, read_text(space.path), {"fronts.csv": _fronts_csv(found)})
    return written


def _design(space: SearchSpace, designs: Designs, row: int) -> Design:
    assignments = {name: network.assignments[int(designs.index[name][row])] for name, network in space.fixed.items()}
    return design_of(space, int(designs.accelerator[row]), assignments, quality={}, metrics={}, accumulator={})


def _record(found: Sweep, designs: Sequence[Design], chosen: str, timings: dict[str, float]) -> StudyRecord:
    space, front = found.space, found.front
    return StudyRecord(
        tasks={
            name: NetworkRecord(metric="", unit="", layers=layer_table(load), float=())
            for name, load in space.workloads.items()
        },
        baselines=_baselines(found, designs),
        chosen=chosen,
        history=(),
        timings=timings,
        hardware_count=len(space.grid),
        designs_priced=found.priced,
        log10_designs=space.size(),
        accumulators=Accumulators(layers_measured=0, designs_refused=0),
        formats={
            name: {label: int((front.index[name] == s).sum()) for s, label in enumerate(network.labels)}
            for name, network in space.fixed.items()
        },
        peak_memory_bytes=peak_memory_bytes(),
    )


def _baselines(found: Sweep, designs: Sequence[Design]) -> tuple[Baseline, ...]:
    """For each choice of formats, if there are several, the balanced design of its own front."""
    space, baselines = found.space, []
    for choice, own in found.fronts.items():
        if not len(own) or len(found.fronts) == 1:
            continue
        named = zip(space.fixed.items(), choice, strict=True)
        chosen = np.all([found.front.index[n] == s for n, s in zip(space.fixed, choice, strict=True)], axis=0)
        kept, design = int(chosen.sum()), _design(space, own, balanced(own))
        baselines.append(
            Baseline.of(
                design,
                label=", ".join(f"{name} {network.labels[s]}" for (name, network), s in named),
                dominated_by=next((other.id for other in designs if other.dominates(design)), None),
                on_front=kept > 0,
                designs=len(own),
                share_dominated=1 - kept / len(own),
                note=f"{kept:,} of its {len(own):,} best designs are on the front of all",
            )
        )
    return tuple(baselines)


def _fronts_csv(found: Sweep) -> str:
    """fronts.csv: the designs of each choice's own front; `on_front` marks those on the front of all choices."""
    space, names = found.space, list(found.space.fixed)
    best = set(zip(found.front.accelerator, *(found.front.index[n] for n in names), strict=True))
    rows = []
    for choice, own in found.fronts.items():
        labels = {f"{n}.formats": space.fixed[n].labels[s] for n, s in zip(names, choice, strict=True)}
        for accelerator, values in zip(own.accelerator, own.objectives, strict=True):
            row: dict[str, object] = {"accelerator": f"grid-{accelerator}"}
            row["on_front"] = int((accelerator, *choice) in best)
            row |= {o.name: float(v) for o, v in zip(space.objectives, values, strict=True)}
            row |= labels
            rows.append(row | grid_parameters(space.grid, accelerator))
    return csv_text(rows)
