"""Fit of energy to the bills of materials of synthesised units, and its errors on held-out units.

The energy of a part per cycle has a constant share and one proportional to the switching activity of the mode's
products (`units.switching`). The low end of every energy counts each net at most once per cycle, the high end includes
all glitches under equal gate delays (`synthesis.energy`); the value is the mean of the two.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls

from codesign.hardware.calibration.fit.area_delay import Vector, held_out, summaries
from codesign.hardware.calibration.synthesis.energy import Switched
from codesign.hardware.rtl.analyse.parts import PARTS, counts_of
from codesign.hardware.units.coefficients import CoefficientRow
from codesign.hardware.units.unit_model import SHARES, EnergySections

_PRIOR_WEIGHT = 0.02  # of the prior of a coefficient, relative to one unit, as for area
_ROUNDS = 20  # of reweighting: then the coefficients of both shipped libraries change by less than 1e-9 fJ
# Smallest ratio of predicted to target energy that is used for weights, so that no single row dominates the fit. Of the
# shipped libraries' rows a few in 1000 are below it, and only in the fit of glitches.
_LEAST_RATIO = 0.2


def fit_energy(rows: Sequence[Switched]) -> Vector:
    """Energy in fJ per one-bit cell and cycle: [without glitches, glitches], float64 [2, 2 x parts] (SHARES x PARTS).

    Fitted to units of one format only.
    """
    single = [row for row in rows if len(row.unit.modes) == 1]
    counts = np.array([row.switching(row.own) for row in single])
    settled = np.array([row.settled_fj for row in single])
    glitching = np.array([row.glitching_fj for row in single])
    quiet = _non_negative(counts, settled, np.ones(len(single)))
    excess = _non_negative(counts, glitching, 1 - counts @ quiet / glitching)
    return np.array([quiet, excess])


def _non_negative(counts: Vector, scale: Vector, targets: Vector) -> Vector:
    """Iteratively reweighted non-negative least squares of counts / scale to the targets.

    Rows with a large prediction weigh less, so that twice and half the target count as equally wrong.
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
    """Predicted / simulated energy - 1, for the mean of without and with glitches."""
    return float(row.switching(row.own) @ (coefficients[0] + coefficients[1] / 2)) / row.middle_fj - 1


def idle_share(rows: Sequence[Switched], coefficients: Vector) -> tuple[float, float, float]:
    """Switching of parts that a mode does not use, relative to used ones: median, 10th and 90th percentile of units."""
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


def energy_errors(rows: Sequence[Switched], *, few: bool = False) -> dict[str, dict[str, float]]:
    """Relative errors of units of one format under all activities, in-sample and held out by unit or family, and of
    units of several formats, from which only the idle share is fitted. few: as in `summary`."""
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
    return summaries(found, few=few)


def energy_model(rows: Sequence[Switched], area_um2: Vector, source: str) -> EnergySections:
    """The energy sections of a unit model's file; empty without rows.

    area_um2: [parts], per one-bit cell.
    """

    def entry(value: float, low: float, high: float, unit: str) -> CoefficientRow:
        return {
            "value": round(float(value), 5),
            "low": round(float(low), 5),
            "high": round(float(high), 5),
            "unit": unit,
            "source": source,
            "quality": "fitted",
        }

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
