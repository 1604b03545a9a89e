"""Which designs of the front may be reported: those whose accumulators keep what was measured."""

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
    """The front, which of its designs are told apart from cheaper ones, bool [n], the rows of those to report, and of
    each of these the worst layer of every network in its accumulator.
    """

    front: Designs
    apart: np.ndarray
    rows: np.ndarray
    accumulators: list[dict[str, WorstSum]]


def accepted(study: OpenStudy, report: Progress) -> Accepted:
    """What may be reported of a study: designs that are told apart from cheaper ones stand for the front; where there
    is room for more, so do those that are as good as a cheaper one within the noise of their comparison.

    Where a sum keeps less than the space's `accumulator_sqnr_db`, every design that sums that layer in
    that way leaves the front, and what it had dominated takes its place. Only representatives are
    measured. Raises InputError where no design is left.
    """
    started = time.monotonic()
    limit, grid = study.space.spec.accumulator_sqnr_db, study.space.grid
    summed = study.space.spec.hardware is not None  # else no accumulator was chosen
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
    """Rows of the front to report, ascending: first of those that are told apart, then of the others."""
    limit, found = study.space.spec.search.front_size, np.zeros(0, dtype=np.int64)
    for group in (np.flatnonzero(apart), np.flatnonzero(~apart)):
        if len(found) < limit:
            found = np.concatenate([found, group[representatives(front.take(group), limit - len(found), study.seed)]])
    return np.sort(found)


def _resamples(study: OpenStudy, designs: Designs) -> list[np.ndarray]:
    """Of each quality among the objectives its values on the common resamples, [designs, draws]."""
    found = []
    for objective in study.space.objectives:
        if objective.is_quality:
            assert objective.task is not None
            draws = [q.draws for q in study.measured[objective.task].qualities]
            least = min(map(len, draws))
            found.append(np.array([d[:least] for d in draws]).reshape(len(draws), least)[designs.index[objective.task]])
    return found


def _layer_sqnr(study: OpenStudy, name: str, index: int, unit: MacUnit) -> np.ndarray:
    """dB of every layer of a measured assignment on a unit, inf where exact."""
    network, choice = study.space.networks[name], study.measured[name].choices[index]
    return np.array(
        [
            study.accumulation.sqnr_db(name, layer, network.pairs[c], unit)
            for layer, c in zip(network.layers, choice, strict=True)
        ]
    )


def _worst(study: OpenStudy, name: str, index: int, unit: MacUnit, sqnr: np.ndarray) -> WorstSum:
    """The layer that loses most."""
    network, layer = study.space.networks[name], int(sqnr.argmin())
    pair = network.pairs[study.measured[name].choices[index][layer]]
    least = float(sqnr[layer])
    return WorstSum(
        sqnr_db=None if least == np.inf else least,
        layer=network.layers[layer],
        accumulator=in_words(pair, unit),
    )


def _refuse(study: OpenStudy, name: str, layer: int, column: int, unit: MacUnit) -> None:
    """Leave out of the front all designs that sum this layer in this way."""
    for index, other in enumerate(study.space.grid.units):
        if sums_alike(unit, other, study.space.pairs[column]):
            study.combiner.refuse(index, [(name, layer, column)])
