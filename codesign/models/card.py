"""What a model card claims of a float network: a metric with its interval."""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from codesign.models.task import Samples

RESAMPLES = 1000


class Claim(TypedDict):
    """Value of a metric, its 95 % percentile-bootstrap interval over rows, and the number of rows."""

    value: float
    low: float
    high: float
    n: int


def claim(samples: Samples) -> Claim:
    """The metric of these samples, in 4 digits after the point."""
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
    """``value [low, high]``, each `times` as much (100 for per cent); sign "+": before a value above 0."""
    value, low, high = (times * end for end in (claim["value"], claim["low"], claim["high"]))
    return f"{value:{sign}.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
