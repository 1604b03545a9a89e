"""Sentences and numbers of a study that commands and reports share."""

from __future__ import annotations

SHARED = "{0} evaluation samples are calibration samples too: what calibration found flatters the qualities on them"
UNFOLDED = (
    "{} batch normalisations are not folded; where one follows a convolution a chip would: latency and energy are too "
    "high then, and weights are quantized without their scales."
)


def designs_in_words(log10: float) -> str:
    """A number of designs, given as its log10: exact up to 9,999, a power of ten above."""
    count = round(10**log10) if log10 < 5 else None
    return f"{count:,}" if count is not None and count < 10_000 else f"10^{log10:.0f}"
