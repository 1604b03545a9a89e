"""Fit of area and delay to synthesised units, and how well it predicts units it has not seen.

Area is a sum over the unit's bill of materials, delay the longest sum of logic levels of a pipeline
stage (`rtl.timing`); every coefficient is non-negative and has a physical meaning. Non-negative
least squares on relative error (Lawson and Hanson 1974, scipy).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from codesign.hardware.calibration.parts import PARTS
from codesign.hardware.rtl.timing import KINDS, stages
from codesign.hardware.rtl.unit import Unit

_PRIOR_WEIGHT = 0.02  # of a part's own size against one unit: decides only what the units leave open
_DELAY_ROUNDS = 12
_FOLDS = 5

Vector = npt.NDArray[np.float64]


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

    Which stage is the longest depends on the coefficients: they are fitted to the stages that the
    last ones found longest, until those stay the same.
    """
    known = [sample for sample in samples if sample.delay_ps]
    depths = [_depths(sample) for sample in known]
    delays = np.array([sample.delay_ps for sample in known], dtype=np.float64)
    coefficients = np.ones(len(KINDS))
    chosen: list[int] = []
    for _ in range(_DELAY_ROUNDS):
        longest = [int(np.argmax(stage @ coefficients)) for stage in depths]
        if longest == chosen:
            break
        chosen = longest
        lines = np.array([stage[i] for stage, i in zip(depths, chosen, strict=True)]) / delays[:, None]
        coefficients = np.asarray(nnls(lines, np.ones(len(delays)))[0])
    return coefficients


def delay_error(sample: Sample, coefficients: Vector) -> float:
    """Predicted over synthesised delay, less 1."""
    assert sample.delay_ps
    return float((_depths(sample) @ coefficients).max()) / sample.delay_ps - 1


def _depths(sample: Sample) -> Vector:
    """Levels of each kind in each stage of each mode, [stages, kinds]."""
    rows = [stage for mode in sample.unit.modes for stage in stages(mode, sample.unit.cuts)]
    return np.array([[stage.get(kind, 0.0) for kind in KINDS] for stage in rows])


def held_out(
    samples: Sequence[Sample],
    fit: Callable[[Sequence[Sample]], Vector],
    error: Callable[[Sample, Vector], float],
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


def summary(errors: Sequence[float]) -> dict[str, float]:
    """Median, 90th percentile and worst of the absolute errors."""
    sizes = np.abs(errors)
    values = {"median": np.median(sizes), "p90": np.quantile(sizes, 0.9), "worst": sizes.max()}
    return {name: round(float(value), 4) for name, value in values.items()}
