"""Fit of area and delay to synthesised units, and its errors on held-out units.

Area is a sum over the unit's bill of materials, delay the longest sum of gates between two registers
(`rtl.analyse.timing`); all coefficients are non-negative and have a physical meaning. Non-negative least squares on the
relative error (Lawson and Hanson, 1974; scipy's nnls).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls
from scipy.stats import binom

from codesign.hardware.calibration.synthesis.grid import PLANNED_LEVEL_PS
from codesign.hardware.rtl.analyse.parts import PARTS, TYPICAL_NAND2
from codesign.hardware.rtl.analyse.timing import KINDS, unit_paths
from codesign.hardware.rtl.emit.unit import Unit

_PRIOR_WEIGHT = 0.1  # of the prior of a coefficient, relative to one unit: high enough that none falls to 0
_DELAY_PRIOR_WEIGHT = 0.3  # high enough that logic which is rarely on the longest path keeps a plausible delay
_DELAY_ROUNDS = 16
_HUBER = 0.05  # Huber loss: larger relative errors count linearly, as synthesis restructures some stages completely
_FOLDS = 5

Vector = npt.NDArray[np.float64]


class Grouped(Protocol):
    """A measurement of a unit, which can be held out with its unit or its family of formats."""

    @property
    def family(self) -> str: ...
    @property
    def unit(self) -> Unit: ...


Measured = TypeVar("Measured", bound=Grouped)


@dataclass(frozen=True)
class Sample:
    """One synthesised unit."""

    family: str
    unit: Unit
    clock_ps: float  # clock target
    parts: Mapping[str, int]  # bill of materials: gates and registers by kind
    area_um2: float
    delay_ps: float | None  # register to register; None if not reported

    @property
    def counts(self) -> Vector:
        return np.array([self.parts.get(part, 0) for part in PARTS], dtype=np.float64)


def fit_area(samples: Sequence[Sample]) -> Vector:
    """Area in um2 of one of each part, float64 [parts]."""
    counts = np.array([sample.counts for sample in samples])
    areas = np.array([sample.area_um2 for sample in samples])
    typical = np.array(TYPICAL_NAND2)
    typical *= areas.sum() / (counts @ typical).sum()
    prior = np.diag(_PRIOR_WEIGHT / typical)
    lines = np.vstack([counts / areas[:, None], prior])
    return np.asarray(nnls(lines, np.concatenate([np.ones(len(areas)), np.full(len(PARTS), _PRIOR_WEIGHT)]))[0])


def area_error(sample: Sample, coefficients: Vector) -> float:
    """Predicted / synthesised area - 1."""
    return float(sample.counts @ coefficients) / sample.area_um2 - 1


def fit_delay(samples: Sequence[Sample]) -> Vector:
    """Delay in ps of one gate of each kind of logic, float64 [kinds].

    Iteratively reweighted non-negative least squares with Huber loss. The longest path depends on the coefficients, so
    each round fits those of the current longest paths and moves half of the way; the best round is returned.
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
    """Predicted / synthesised delay - 1."""
    assert sample.delay_ps
    return float(unit_paths(sample.unit).longest(coefficients) @ coefficients) / sample.delay_ps - 1


def held_out(
    samples: Sequence[Measured],
    fit: Callable[[Sequence[Measured]], Vector],
    error: Callable[[Measured, Vector], float],
    by: str,
    seed: int = 0,
) -> list[float]:
    """Cross-validation: the error of each sample under a fit without its group.

    by: "unit" for five folds of units (with all their pipelined variants), "family" for one fold per family.
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


def summaries(errors: Mapping[str, Sequence[float]], *, few: bool = False) -> dict[str, dict[str, float]]:
    """Evaluation -> `summary` of its errors, without empty evaluations."""
    return {how: summary(found, few=few) for how, found in errors.items() if len(found)}


def summary(errors: Sequence[float], *, few: bool = False) -> dict[str, float]:
    """Median, 90th percentile and maximum of the absolute errors.

    few: of a quick grid; the 90th percentile is then its upper bound with 90 % confidence, from the order statistic
    that fewer than one in ten samples of this size leave below it (binomial), or the maximum if there is none.
    """
    sizes = np.sort(np.abs(errors))
    p90 = np.quantile(sizes, 0.9)
    if few:
        p90 = sizes[min(int(binom.ppf(0.9, len(sizes), 0.9)), len(sizes) - 1)]
    values = {"median": np.median(sizes), "p90": p90, "worst": sizes[-1]}
    return {name: round(float(value), 4) for name, value in values.items()}
