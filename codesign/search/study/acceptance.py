"""The acceptance of designs for the report: their accumulators must preserve the measured quality."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from codesign.designs import WorstSum
from codesign.errors import InputError
from codesign.hardware import MacUnit
from codesign.search.engine.points import Designs
from codesign.search.space.sums import in_words
from codesign.search.study.accumulation import sums_alike
from codesign.search.study.noise import told_apart
from codesign.search.study.progress import Progress
from codesign.search.study.representatives import representatives
from codesign.search.study.study import OpenStudy


@dataclass(frozen=True)
class Accepted:
    """The accepted front of a study, and the designs of it to report."""

    front: Designs
    apart: np.ndarray  # bool [n]: designs of the front that are better than every cheaper one by more than noise
    rows: np.ndarray  # int [r]: the designs to report, ascending
    accumulators: list[dict[str, WorstSum]]  # of each design to report: network -> its worst layer


def accepted(study: OpenStudy, report: Progress) -> Accepted:
    """The front of a study without designs whose accumulators lose too much, and its representatives.

    Designs that differ from every cheaper one by more than noise are reported first; the others fill up the report.
    If the sums of a layer keep less than the space's `accumulator_sqnr_db`, every design that sums this layer in the
    same way is removed, designs that it dominated enter the front, and representatives are chosen again. Only the
    accumulators of representatives are computed. Raises InputError if no design is left.
    """
    started = time.monotonic()
    limit, grid = study.space.spec.accumulator_sqnr_db, study.space.grid
    summed = study.space.spec.hardware is not None  # without hardware there is no accumulator
    while True:
        front = study.front()
        if not len(front):
            raise InputError(
                f"{study.space.path}: in every design some layer keeps less than {limit:g} dB in the accumulator; "
                "list a wider hardware.accumulator or lower accumulator_sqnr_db"
            )
        apart = told_apart(front, study.space.objectives, _resamples(study, front))
        rows = _reported(study, front, apart)
        shown = front.take(rows)
        worst, refused = [], 0
        for i in range(len(shown)) if summed else ():
            report("accumulators", i, len(shown), "")
            unit = grid.units[grid.unit[shown.accelerator[i]]]
            layers = {n: _layer_sqnr(study, n, shown.index[n][i], unit) for n in study.space.networks}
            worst.append({n: _worst(study, n, shown.index[n][i], unit, values) for n, values in layers.items()})
            failed = [(n, la) for n, values in layers.items() for la in np.flatnonzero(values < limit)]
            refused += bool(failed)
            for name, layer in failed:
                _refuse(study, name, int(layer), int(study.measured[name].choices[shown.index[name][i]][layer]), unit)
        report("accumulators", len(shown), len(shown), "")
        study.refused += refused
        if not refused:
            study.timings["accumulators"] = time.monotonic() - started
            accumulators = worst if summed else [{} for _ in rows]
            return Accepted(front, apart, rows, accumulators)


def _reported(study: OpenStudy, front: Designs, apart: np.ndarray) -> np.ndarray:
    """Rows of the front to report, ascending: chosen first among `apart`, then among the others."""
    limit, found = study.space.spec.search.front_size, np.zeros(0, dtype=np.int64)
    for group in (np.flatnonzero(apart), np.flatnonzero(~apart)):
        if len(found) < limit:
            found = np.concatenate([found, group[representatives(front.take(group), limit - len(found), study.seed)]])
    return np.sort(found)


def _resamples(study: OpenStudy, designs: Designs) -> list[np.ndarray]:
    """For each quality among the objectives, its values on common bootstrap resamples, [designs, draws]."""
    found = []
    for objective in study.space.objectives:
        if objective.is_quality:
            assert objective.task is not None
            draws = [q.draws for q in study.measured[objective.task].qualities]
            least = min(map(len, draws))
            found.append(np.array([d[:least] for d in draws]).reshape(len(draws), least)[designs.index[objective.task]])
    return found


def _layer_sqnr(study: OpenStudy, name: str, index: int, unit: MacUnit) -> np.ndarray:
    """SQNR in dB of the sums of every layer of a measured assignment on a unit, [L]; inf if exact."""
    network, choice = study.space.networks[name], study.measured[name].choices[index]
    return np.array(
        [
            study.accumulation.sqnr_db(name, layer, network.pairs[c], unit)
            for layer, c in zip(network.layers, choice, strict=True)
        ]
    )


def _worst(study: OpenStudy, name: str, index: int, unit: MacUnit, sqnr: np.ndarray) -> WorstSum:
    """The layer of least SQNR."""
    network, layer = study.space.networks[name], int(sqnr.argmin())
    pair = network.pairs[study.measured[name].choices[index][layer]]
    least = float(sqnr[layer])
    return WorstSum(
        sqnr_db=None if least == np.inf else least,
        layer=network.layers[layer],
        accumulator=in_words(pair, unit),
    )


def _refuse(study: OpenStudy, name: str, layer: int, column: int, unit: MacUnit) -> None:
    """Exclude all designs that sum this layer in this pair as `unit` does."""
    for index, other in enumerate(study.space.grid.units):
        if sums_alike(unit, other, study.space.pairs[column]):
            study.combiner.refuse(index, [(name, layer, column)])
