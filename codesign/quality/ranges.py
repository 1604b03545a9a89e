"""Static ranges of activations: observed once on the calibration data, fitted once per format."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, cast, get_args

import torch
from torch import Tensor

from codesign.errors import InputError, nearest
from codesign.formats import Format
from codesign.models.task import Task
from codesign.quality.histogram import Histogram
from codesign.workload import Product, ProductInterceptor

Site = tuple[str, str]  # (layer, operand): input for conv and linear; query, key, probability, value
RangeRule = Literal["mse", "minmax", "percentile"]
Range = float | tuple[float, float]

_PERCENTILE = 0.9999
_COARSE = 2.0 ** (-torch.arange(33) / 4)  # shares of the largest magnitude that the MSE rule tries, down to 1/256
_FINE = 16  # further ones, between the neighbours of the best of these
_HOPELESS = 4.0  # times the least error so far: smaller ranges, which clip still more, are not looked at
_WORTH = 0.998  # of the error of the whole range: a gain below it is within what the histogram leaves open

_OPERANDS = {"attention_qk": ("query", "key"), "attention_pv": ("probability", "value")}


def sites(product: Product) -> tuple[Site, Site | None]:
    """Where the two operands of a product are observed; a weight is no activation (None)."""
    names = _OPERANDS.get(product.kind)
    if names is None:
        return (product.layer, "input"), None
    return (product.layer, names[0]), (product.layer, names[1])


@dataclass
class _Observed:
    low: float = math.inf
    high: float = -math.inf
    elements: Histogram = field(default_factory=Histogram)


class Ranges:
    """Observed operands of one network, and the clipping range of each for any format.

    Every element of the calibration run counts. Rules: ``minmax`` takes the largest magnitude seen, ``percentile`` the
    99.99 % quantile of the magnitude, ``mse`` the range whose fake quantization has the least squared error over all
    elements (so it differs by format: int8 clips outliers that fp8 can afford to represent), never one that is worse
    than that of ``minmax``. Block formats and float casts need no range: their scales come from the data.

    Raises InputError where calibration meets NaN or infinity, naming the layer, or performs no product.
    """

    def __init__(self, task: Task, rule: RangeRule = "mse") -> None:
        self.rule = check_rule(rule)
        self._name = task.name
        self._seen: dict[Site, _Observed] = {}
        self._fitted: dict[tuple[Site, str], Range] = {}
        with torch.inference_mode(), ProductInterceptor(task.module, self._observe, decompose=True):
            task.calibrate(task.module)
        if not self._seen:
            raise InputError(f"{task.name}: the calibration run performed no matrix product")

    def _observe(self, product: Product) -> None:
        first, second = sites(product)
        self._record(first, product.input)
        if second is not None:
            self._record(second, product.stationary)

    def _record(self, site: Site, x: Tensor) -> None:
        if not x.numel():
            return
        low, high = (float(v) for v in x.detach().aminmax())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise InputError(
                f"{self._name}: layer '{site[0]}': its {site[1]} holds NaN or infinity in the calibration run"
            )
        seen = self._seen.setdefault(site, _Observed())
        seen.low, seen.high = min(seen.low, low), max(seen.high, high)
        if self.rule != "minmax":
            seen.elements.add(x)

    def get(self, site: Site, fmt: Format) -> Range:
        """The clipping range for `fmt` at `site`: a magnitude, or (low, high) with a zero point.

        Raises InputError if calibration never reached this operand.
        """
        key = (site, fmt.name)
        if key not in self._fitted:
            if site not in self._seen:
                raise InputError(f"layer '{site[0]}': its {site[1]} was not seen during calibration")
            self._fitted[key] = self._fit(self._seen[site], fmt)
        return self._fitted[key]

    def _fit(self, seen: _Observed, fmt: Format) -> Range:
        largest = max(abs(seen.low), abs(seen.high))
        if largest == 0:
            return (0.0, 0.0) if fmt.has_zero_point else 0.0
        share = 1.0
        if self.rule == "percentile":
            share = _quantile(*seen.elements.rows()) / largest or 1.0
        elif self.rule == "mse":
            share = _least_error(lambda share: _range(seen, largest, share, fmt), fmt, *seen.elements.rows())
        return _range(seen, largest, share, fmt)


def check_rule(rule: str) -> RangeRule:
    """`rule` itself; raises InputError with the nearest where there is no such."""
    for known in get_args(RangeRule):
        if rule == known:
            return cast(RangeRule, known)
    raise InputError(f"unknown range rule '{rule}'{nearest(rule, get_args(RangeRule))}")


def _quantile(values: Tensor, counts: Tensor) -> float:
    """The magnitude that `_PERCENTILE` of the elements do not exceed."""
    magnitudes, order = values.abs().sort()
    below = counts[order].cumsum(0)
    return float(magnitudes[torch.searchsorted(below, math.ceil(_PERCENTILE * int(below[-1])))])


def _least_error(range_of: Callable[[float], Range], fmt: Format, values: Tensor, counts: Tensor) -> float:
    """The share of the whole range with the least squared error over all elements: a coarse look, then a fine one."""
    weights, errors = counts.double(), dict[float, float]()

    def look(shares: Iterable[float]) -> float:
        for share in shares:
            change = fmt.fake_quantize(values, amax=range_of(share)).sub_(values).double()
            errors[share] = float(weights @ change.square_())
            if errors[share] > _HOPELESS * min(errors.values()):
                break
        return min(errors, key=errors.__getitem__)

    coarse = _COARSE.tolist()
    place = coarse.index(look(coarse))
    high, low = coarse[max(place - 1, 0)], coarse[min(place + 1, len(coarse) - 1)]
    best = look(torch.linspace(high, low, _FINE + 2)[1:-1].tolist())
    return best if errors[best] < _WORTH * errors[1.0] else 1.0


def _range(seen: _Observed, largest: float, share: float, fmt: Format) -> Range:
    if fmt.has_zero_point:
        return min(0.0, seen.low * share), max(0.0, seen.high * share)
    return largest * share
