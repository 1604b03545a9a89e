"""Fit of area and delay to synthesised units, and how well it predicts units it has not seen.

Area is a sum over the unit's bill of materials, delay the longest sum of logic levels between two
registers (`rtl.analyse.timing`); every coefficient is non-negative and has a physical meaning. Non-negative
least squares on relative error (Lawson and Hanson 1974, scipy).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from codesign.hardware.calibration.synthesis.grid import PLANNED_LEVEL_PS
from codesign.hardware.rtl.analyse.parts import PARTS
from codesign.hardware.rtl.analyse.timing import KINDS, unit_paths
from codesign.hardware.rtl.emit.unit import Unit

_PRIOR_WEIGHT = 0.02  # of a part's own size against one unit: decides only what the units leave open
_DELAY_PRIOR_WEIGHT = 0.3  # enough that logic which rarely decides a path keeps a sensible delay
_DELAY_ROUNDS = 16
_HUBER = 0.05  # relative errors beyond it count linearly: some stages are restructured beyond any count of levels
_FOLDS = 5

Vector = npt.NDArray[np.float64]


class Grouped(Protocol):
    """What can be left out together: a measured unit and its family of formats."""

    @property
    def family(self) -> str: ...
    @property
    def unit(self) -> Unit: ...


Measured = TypeVar("Measured", bound=Grouped)


@dataclass(frozen=True)
class Sample:
    """One synthesised unit: what it is made of and what came out. delay_ps: clock-to-clock, or None."""

    family: str
    unit: Unit
    clock_ps: float
    parts: Mapping[str, int]
    area_um2: float
    delay_ps: float | None

    @property
    def counts(self) -> Vector:
        return np.array([self.parts.get(part, 0) for part in PARTS], dtype=np.float64)


def fit_area(samples: Sequence[Sample]) -> Vector:
    """um2 of one cell of each part, float64 [parts]."""
    counts = np.array([sample.counts for sample in samples])
    areas = np.array([sample.area_um2 for sample in samples])
    typical = areas.sum() / counts.sum()
    prior = np.eye(len(PARTS)) * _PRIOR_WEIGHT / typical
    lines = np.vstack([counts / areas[:, None], prior])
    return np.asarray(nnls(lines, np.concatenate([np.ones(len(areas)), np.full(len(PARTS), _PRIOR_WEIGHT)]))[0])


def area_error(sample: Sample, coefficients: Vector) -> float:
    """Predicted over synthesised area, less 1."""
    return float(sample.counts @ coefficients) / sample.area_um2 - 1


def fit_delay(samples: Sequence[Sample]) -> Vector:
    """ps of one level of each kind of logic, float64 [kinds].

    Which path is the longest depends on the coefficients: they are fitted to the paths that the last
    ones found longest, halfway at a time, and the best of the rounds is kept.
    """
    known = [sample for sample in samples if sample.delay_ps]
    graphs = [unit_paths(sample.unit) for sample in known]
    delays = np.array([sample.delay_ps for sample in known], dtype=np.float64)
    typical = np.array([PLANNED_LEVEL_PS[kind] for kind in KINDS])
    typical *= np.median([d / float(g.longest(typical) @ typical) for g, d in zip(graphs, delays, strict=True)])
    prior = np.diag(_DELAY_PRIOR_WEIGHT / typical)
    targets = np.concatenate([np.ones(len(delays)), np.full(len(KINDS), _DELAY_PRIOR_WEIGHT)])
    coefficients, best, least = typical, typical, np.inf
    for _ in range(_DELAY_ROUNDS):
        lines = np.array([graph.longest(coefficients) for graph in graphs]) / delays[:, None]
        sizes = np.abs(lines @ coefficients - 1)
        within = sizes <= _HUBER
        loss = float(np.where(within, sizes**2 / 2, _HUBER * (sizes - _HUBER / 2)).sum())
        if loss < least:
            best, least = coefficients, loss
        weights = np.concatenate([np.sqrt(_HUBER / np.maximum(sizes, _HUBER)), np.ones(len(KINDS))])
        fitted = np.asarray(nnls(np.vstack([lines, prior]) * weights[:, None], targets * weights)[0])
        if np.allclose(fitted, coefficients, rtol=1e-3, atol=1e-3):
            break
        coefficients = (coefficients + fitted) / 2
    return best


def delay_error(sample: Sample, coefficients: Vector) -> float:
    """Predicted over synthesised delay, less 1."""
    assert sample.delay_ps
    return float(unit_paths(sample.unit).longest(coefficients) @ coefficients) / sample.delay_ps - 1


def held_out(
    samples: Sequence[Measured],
    fit: Callable[[Sequence[Measured]], Vector],
    error: Callable[[Measured, Vector], float],
    by: str,
    seed: int = 0,
) -> list[float]:
    """Error of each sample under a fit that has not seen its group: by "unit" in five folds, or by "family".

    A unit's variants at other clocks leave together with it.
    """
    keys = [sample.family if by == "family" else _identity(sample.unit) for sample in samples]
    names = sorted(set(keys))
    if by == "family":
        group = {name: i for i, name in enumerate(names)}
    else:
        order = np.random.default_rng(seed).permutation(len(names))
        group = {name: int(order[i]) % _FOLDS for i, name in enumerate(names)}
    errors = np.zeros(len(samples))
    for out in set(group.values()):
        inside = [s for s, key in zip(samples, keys, strict=True) if group[key] != out]
        coefficients = fit(inside)
        for i, key in enumerate(keys):
            if group[key] == out:
                errors[i] = error(samples[i], coefficients)
    return [float(value) for value in errors]


def _identity(unit: Unit) -> str:
    return unit.cut(()).name


def summaries(errors: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    """Median, 90th percentile and worst of the absolute errors of each kind that has any."""
    return {how: summary(found) for how, found in errors.items() if len(found)}


def summary(errors: Sequence[float]) -> dict[str, float]:
    """Median, 90th percentile and worst of the absolute errors."""
    sizes = np.abs(errors)
    values = {"median": np.median(sizes), "p90": np.quantile(sizes, 0.9), "worst": sizes.max()}
    return {name: round(float(value), 4) for name, value in values.items()}
