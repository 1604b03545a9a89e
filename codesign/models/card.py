"""Claims of a model card about a float network: metrics with intervals."""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from codesign.models.task import Samples

RESAMPLES = 1000


class Claim(TypedDict):
    """The value of a metric."""

    value: float
    low: float  # low, high: 95 % percentile-bootstrap interval over rows
    high: float
    n: int  # rows


def claim(samples: Samples) -> Claim:
    """The metric of `samples`, rounded to 4 decimals."""
    rows = samples.values
    draws = np.random.default_rng(0).integers(0, len(rows), size=(RESAMPLES, len(rows)))
    low, high = np.quantile([samples.reduce(rows[d]) for d in draws], [0.025, 0.975])
    return {
        "value": round(samples.reduce(rows), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
        "n": len(rows),
    }


def bracket(claim: Claim, digits: int = 2, sign: str = "", *, times: float = 1) -> str:
    """Format as ``value [low, high]``, multiplied by `times` (100 for per cent); sign "+" also for positive values."""
    value, low, high = (times * end for end in (claim["value"], claim["low"], claim["high"]))
    return f"{value:{sign}.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
