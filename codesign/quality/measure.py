"""`Quality`: a metric as a number with its 95 % interval, by bootstrap over samples."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from codesign.errors import InputError
from codesign.models.task import Direction, Samples

RESAMPLES = 400
BOOTSTRAP_SEED = 2023


@dataclass(frozen=True)
class Quality:
    """One measured metric of one network under one Assignment.

    `low` and `high` bound the 95 % percentile-bootstrap interval of `value` over `n` samples.
    `delta` is value minus the float network's value on the same samples, with the interval of the
    *paired* bootstrap; the three are None where the metric already compares with the float network.
    `part` is the value on the task's `Part` alone, None where it has none; `of_part`: so is `value`, the others were
    not run.
    """

    metric: str
    unit: str
    direction: Direction
    value: float
    low: float
    high: float
    n: int
    float_value: float | None = None
    delta: float | None = None
    delta_low: float | None = None
    delta_high: float | None = None
    part: float | None = None
    of_part: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON form; what is said of a part only where there is something to say."""
        fields = asdict(self)
        return {k: v for k, v in fields.items() if k not in ("part", "of_part") or v not in (None, False)}


class UnmeasurableError(InputError):
    """A metric came out as NaN or infinity: the design has no quality, and the reason says why."""


def measure(samples: Samples, reference: Samples | None = None) -> Quality:
    """Quality of `samples`; with `reference` (the float network's, same rows) also the paired delta.

    Raises UnmeasurableError where a value is not finite.
    """
    rows = np.asarray(samples.values)
    n = len(rows)
    if n == 0:
        raise UnmeasurableError(f"{samples.name}: no samples")
    if not np.isfinite(rows).all():
        raise UnmeasurableError(f"{samples.name}: {int((~np.isfinite(rows)).sum())} values are NaN or infinite")
    value = float(samples.reduce(rows))
    draws = np.random.default_rng(BOOTSTRAP_SEED).integers(0, n, size=(RESAMPLES, n))
    boot = np.array([samples.reduce(rows[d]) for d in draws], dtype=float)
    low, high = _interval(boot, value)
    if reference is None:
        if not math.isfinite(value):
            raise UnmeasurableError(f"{samples.name} is {value}")
        return Quality(samples.name, samples.unit, samples.direction, value, low, high, n)
    base = np.asarray(reference.values)
    float_value = float(reference.reduce(base))
    if not (math.isfinite(value) and math.isfinite(float_value)):
        raise UnmeasurableError(f"{samples.name} is {value} (float network: {float_value})")
    deltas = boot - np.array([reference.reduce(base[d]) for d in draws], dtype=float)
    delta_low, delta_high = _interval(deltas, value - float_value)
    return Quality(
        samples.name, samples.unit, samples.direction, value, low, high, n,
        float_value, value - float_value, delta_low, delta_high,
    )  # fmt: skip


def _interval(boot: np.ndarray, value: float) -> tuple[float, float]:
    """The central 95 % of the resamples, widened to include the value itself."""
    low, high = np.quantile(boot, [0.025, 0.975])
    return float(min(low, value)), float(max(high, value))
