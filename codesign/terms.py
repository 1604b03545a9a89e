"""Words that networks, measurements and results share, in a module that loads nothing."""

from __future__ import annotations

from typing import Literal

Direction = Literal["minimize", "maximize"]
Scale = Literal["raw", "log10", "db"]
"""Scale of a loss: raw, if the losses of several layers add up (a squared error, a divergence); the log10 of such a
loss; or db, 10 log10 of it (a negated PSNR)."""
SCALES: tuple[Scale, ...] = ("raw", "log10", "db")
RangeRule = Literal["auto", "minmax", "mse", "output", "percentile"]
"""How activations in plain formats are clipped, see `codesign.quality.ranges`."""
DEFAULT_RULE: RangeRule = "auto"
