"""`Quality`: the value of a metric with its 95 % interval, by bootstrap over samples (Efron, 1979)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from codesign.errors import InputError
from codesign.terms import Direction

if TYPE_CHECKING:
    from codesign.models.task import Samples

RESAMPLES = 400
DRAWS = 32  # resamples whose values are kept: enough for a standard deviation within about 1/8
BOOTSTRAP_SEED = 2023


@dataclass(frozen=True)
class Quality:
    """One measured metric of one network under one Assignment."""

    metric: str
    unit: str
    direction: Direction
    value: float
    low: float  # low, high: 95 % percentile-bootstrap interval of value
    high: float
    n: int  # samples
    # value minus the float network's value on the same samples, with the interval of the paired bootstrap; None for
    # metrics that already compare with the float network
    float_value: float | None = None
    delta: float | None = None
    delta_low: float | None = None
    delta_high: float | None = None
    part: float | None = None  # value on the task's `Part`; None without one
    of_part: bool = False  # value is that of the Part: the other samples were not run
    # values on the first resamples, which are the same for all assignments of a network: the spread of the differences
    # of two assignments is the noise of their comparison, which is smaller than that of either value
    draws: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """JSON form; part, of_part and draws only if set."""
        fields = asdict(self)
        unsaid = {"part": self.part is None, "of_part": not self.of_part, "draws": not self.draws}
        return {k: v for k, v in fields.items() if not unsaid.get(k)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Quality:
        """Inverse of `to_dict`."""
        return cls(**{**fields, "draws": tuple(fields.get("draws", ()))})


class UnmeasurableError(InputError):
    """The value of a metric is NaN or infinite, so that the design has no quality."""


def measure(samples: Samples, reference: Samples | None = None, *, draws: int = 0) -> Quality:
    """Quality of `samples`; with `reference` (the float network's, same rows) also the paired delta.

    draws: number of resamples whose values are kept (without reference only).
    Percentile bootstrap with `RESAMPLES` resamples of a fixed seed.

    Raises UnmeasurableError if there are no samples or a value is not finite.
    """
    rows = np.asarray(samples.values)
    n = len(rows)
    if n == 0:
        raise UnmeasurableError(f"{samples.name}: no samples")
    if not np.isfinite(rows).all():
        bad = np.flatnonzero(~np.isfinite(rows.reshape(n, -1)).all(axis=1))
        raise UnmeasurableError(
            f"{samples.name}: {len(bad)} of {n} values are NaN or infinite, first of sample {bad[0]}"
        )
    value = float(samples.reduce(rows))
    drawn = np.random.default_rng(BOOTSTRAP_SEED).integers(0, n, size=(RESAMPLES, n))
    boot = np.array([samples.reduce(rows[d]) for d in drawn], dtype=float)
    low, high = _interval(boot, value)
    if reference is None:
        if not math.isfinite(value):
            raise UnmeasurableError(f"{samples.name} is {value}")
        kept = tuple(float(f"{v:.7g}") for v in boot[:draws])  # kept short: a study stores them with every trial
        return Quality(samples.name, samples.unit, samples.direction, value, low, high, n, draws=kept)
    base = np.asarray(reference.values)
    float_value = float(reference.reduce(base))
    if not (math.isfinite(value) and math.isfinite(float_value)):
        raise UnmeasurableError(f"{samples.name} is {value} (float network: {float_value})")
    deltas = boot - np.array([reference.reduce(base[d]) for d in drawn], dtype=float)
    delta_low, delta_high = _interval(deltas, value - float_value)
    return Quality(
        samples.name, samples.unit, samples.direction, value, low, high, n,
        float_value, value - float_value, delta_low, delta_high,
    )  # fmt: skip


def _interval(boot: np.ndarray, value: float) -> tuple[float, float]:
    """The central 95 % of the resamples, extended to include the value itself."""
    low, high = np.quantile(boot, [0.025, 0.975])
    return float(min(low, value)), float(max(high, value))
