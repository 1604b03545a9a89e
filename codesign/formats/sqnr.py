"""Signal-to-quantization-noise ratio of a format on a tensor."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from codesign.formats.format import Format

if TYPE_CHECKING:
    from torch import Tensor


def sqnr_db(x: Tensor, fmt: Format, axis: int | None = None) -> float:
    """SQNR of `x` quantized to `fmt`, in dB: ``10 log10(sum x^2 / sum (x - q)^2)``; inf if exact."""
    signal = x.double()
    noise = float((fmt.fake_quantize(x, axis=axis).double() - signal).square().sum())
    return 10 * math.log10(float(signal.square().sum()) / noise) if noise else math.inf
