"""Fit of energy to the toggles of synthesised units, and its errors on held-out units.

Toggles are those of the generator's own record of a unit (`units.switching`), settled ones and glitches, which cost the
same, by kind of logic and of the pins that a gate drives; what a toggle costs is fitted, non-negative, in fJ. The clock
is fitted apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls

from codesign.hardware.calibration.fit.area_delay import Vector, held_out, summaries
from codesign.hardware.calibration.synthesis.energy import Switched
from codesign.hardware.rtl.analyse.parts import unit_parts
from codesign.hardware.units.coefficients import CoefficientRow
from codesign.hardware.units.switching import TERMS
from codesign.hardware.units.unit_model import EnergySections

# Of the prior of a coefficient, relative to one row: high enough that terms which go together share what they cost.
_PRIOR_WEIGHT = 0.1


def fit_energy(rows: Sequence[Switched]) -> Vector:
    """fJ per toggle by term, then per register and cycle for the clock: [TERMS + 1].

    Non-negative least squares with errors relative to the total energy; the prior is the mean energy of a toggle.
    """
    total = np.array([row.found.dynamic_fj for row in rows])
    target = total - np.array([row.found.clock_fj for row in rows])
    counts = np.array([row.toggles.sum(axis=0) for row in rows])
    typical = float(target.sum()) / counts.sum()
    size = counts.shape[1]
    lines = np.vstack([counts / total[:, None], np.eye(size) * _PRIOR_WEIGHT / typical])
    fitted = nnls(lines, np.concatenate([target / total, np.full(size, _PRIOR_WEIGHT)]))[0]
    return np.concatenate([fitted, [np.median([_clock_fj(row) for row in rows])]])


def _clock_fj(row: Switched) -> float:
    return row.found.clock_fj / row.registers


def energy_error(row: Switched, coefficients: Vector) -> float:
    """Predicted / simulated dynamic energy - 1."""
    predicted = row.toggles.sum(axis=0) @ coefficients[:-1] + coefficients[-1] * row.registers
    return float(predicted) / row.found.dynamic_fj - 1


def energy_errors(rows: Sequence[Switched], *, few: bool = False) -> dict[str, dict[str, float]]:
    """Relative errors under all activities: of units of one format, in-sample and held out by unit or family, and of
    units of several formats in every mode, held out by unit. few: as in `summary`."""
    coefficients = fit_energy(rows)
    families, units = (held_out(rows, fit_energy, energy_error, by) for by in ("family", "unit"))
    single = [i for i, row in enumerate(rows) if len(row.unit.modes) == 1]
    shared = [i for i, row in enumerate(rows) if len(row.unit.modes) > 1]
    found = {
        "in_sample": [energy_error(rows[i], coefficients) for i in single],
        "left_out_units": [units[i] for i in single],
        "left_out_families": [families[i] for i in single],
        "several_formats": [units[i] for i in shared],
    }
    return summaries(found, few=few)


def energy_model(rows: Sequence[Switched], area_um2: Vector, source: str) -> EnergySections:
    """The energy sections of a unit model's file; empty without rows.

    area_um2: [parts], per gate or register.
    """

    def entry(value: float, unit: str) -> CoefficientRow:
        return {"value": round(float(value), 5), "unit": unit, "source": source, "quality": "fitted"}

    def spread(values: Sequence[float], unit: str) -> CoefficientRow:
        found = entry(float(np.median(values)), unit)
        return {**found, "low": round(min(values), 5), "high": round(max(values), 5)}

    if not rows:
        return {}
    leakage = [row.found.leakage_nw / float((unit_parts(row.unit) @ area_um2).sum()) for row in rows]
    return {
        "energy_fj": {term: entry(fj, "fJ per toggle") for term, fj in zip(TERMS, fit_energy(rows)[:-1], strict=True)},
        "energy": {
            "clock": spread([_clock_fj(row) for row in rows], "fJ per register and cycle"),
            "leakage": spread(leakage, "nW per um2"),
        },
    }
