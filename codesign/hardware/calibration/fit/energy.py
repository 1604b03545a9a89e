"""Fit of energy to the toggles of synthesised units, and its errors on held-out units.

Toggles are those of the generator's own record of a unit (`units.switching`), settled ones and glitches by kind of
logic; what a toggle costs is fitted, each cause to what was measured of it: non-negative, in fJ.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls

from codesign.hardware.calibration.fit.area_delay import Vector, held_out, summaries
from codesign.hardware.calibration.synthesis.energy import Switched
from codesign.hardware.rtl.analyse.gates import LOGIC
from codesign.hardware.rtl.analyse.parts import counts_of
from codesign.hardware.units.activities import activities
from codesign.hardware.units.coefficients import CoefficientRow
from codesign.hardware.units.switching import switching
from codesign.hardware.units.unit_model import CAUSES, EnergySections

_PRIOR_WEIGHT = 0.02  # of the prior of a coefficient, relative to one unit, as for area
_ROUNDS = 20  # of reweighting: then the coefficients of both shipped libraries change by less than 1e-9 fJ
_LEAST_RATIO = 0.2  # smallest ratio of predicted to measured energy that is used for weights


def toggles_of(row: Switched) -> Vector:
    """Toggles per cycle of the model, [CAUSES, LOGIC]."""
    found = switching(row.unit, row.found.mode)
    at = activities().index(row.found.activity)
    return np.stack([found.settled[at], found.glitches[at]])


def fit_energy(rows: Sequence[Switched]) -> Vector:
    """fJ per toggle by cause and kind of logic, then per register and cycle for the clock: [2 x LOGIC + 1]."""
    counts = np.array([toggles_of(row) for row in rows])
    settled = np.array([row.found.register_fj + row.found.settled_fj for row in rows])
    glitch = np.array([row.found.glitch_fj for row in rows])
    total = np.array([row.found.dynamic_fj for row in rows])
    clock = np.median([row.found.clock_fj / switching(row.unit, row.found.mode).registers for row in rows])
    return np.concatenate([_non_negative(counts[:, 0], settled, total), _non_negative(counts[:, 1], glitch, total), [clock]])


def _non_negative(counts: Vector, target: Vector, total: Vector) -> Vector:
    """Iteratively reweighted non-negative least squares, with errors relative to the total energy.

    Rows with a large prediction weigh less, so that twice and half the target count as equally wrong.
    """
    typical = float(target.sum()) / counts.sum()
    size = counts.shape[1]
    lines, aim = counts / total[:, None], target / total
    prior = np.eye(size) * _PRIOR_WEIGHT / typical
    return np.asarray(nnls(np.vstack([lines, prior]), np.concatenate([aim, np.full(size, _PRIOR_WEIGHT)]))[0])


def predicted_fj(row: Switched, coefficients: Vector) -> float:
    """Dynamic energy per cycle."""
    registers = switching(row.unit, row.found.mode).registers
    return float(toggles_of(row).ravel() @ coefficients[:-1] + coefficients[-1] * registers)


def energy_error(row: Switched, coefficients: Vector) -> float:
    """Predicted / simulated dynamic energy - 1."""
    return predicted_fj(row, coefficients) / row.found.dynamic_fj - 1
