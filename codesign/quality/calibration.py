"""Static ranges of activations: observed once on the calibration data, fitted once per format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from codesign.errors import InputError, nearest
from codesign.formats import Format
from codesign.models.task import Task
from codesign.workload import Product, ProductInterceptor

Site = tuple[str, str]  # (layer, operand): input for conv and linear; query, key, probability, value
RangeRule = Literal["mse", "minmax", "percentile"]
Range = float | tuple[float, float]

_KEPT = 32_768  # elements of each operand that are kept for fitting ranges
_PER_CALL = 8_192
_PERCENTILE = 0.9999
_SHRINK = torch.linspace(1.0, 0.3, 29)  # candidate ranges of the MSE rule, as shares of the largest magnitude

_OPERANDS = {"attention_qk": ("query", "key"), "attention_pv": ("probability", "value")}


def sites(product: Product) -> tuple[Site, Site | None]:
    """Where the two operands of a product are observed; a weight is no activation (None)."""
    names = _OPERANDS.get(product.kind)
    if names is None:
        return (product.layer, "input"), None
    return (product.layer, names[0]), (product.layer, names[1])


@dataclass
class _Observed:
    low: float
    high: float
    kept: list[Tensor]
    count: int = 0


class Ranges:
    """Observed operands of one network, and the clipping range of each for any format.

    Rules: ``minmax`` takes the largest magnitude seen, ``percentile`` the 99.99 % quantile of the
    magnitude, ``mse`` the range whose fake quantization has the least squared error on the kept
    elements (so it differs by format: int8 clips outliers that fp8 can afford to represent).
    Block formats and float casts need no range: their scales come from the data.
    """

    def __init__(self, task: Task, rule: RangeRule = "mse") -> None:
        if rule not in get_args(RangeRule):
            raise InputError(f"unknown range rule '{rule}'{nearest(rule, get_args(RangeRule))}")
        self.rule = rule
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
        flat = x.detach().float().reshape(-1)
        low, high = (float(v) for v in flat.aminmax())
        seen = self._seen.setdefault(site, _Observed(low, high, []))
        seen.low, seen.high = min(seen.low, low), max(seen.high, high)
        if seen.count < _KEPT:
            # a stride coprime with the usual power-of-two shapes, so that no channel is left out
            part = flat[:: max(1, flat.numel() // _PER_CALL) | 1].clone()
            seen.kept.append(part)
            seen.count += part.numel()

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
        x = torch.cat(seen.kept)
        if self.rule == "minmax":
            share = 1.0
        elif self.rule == "percentile":
            share = float(torch.quantile(x.abs(), _PERCENTILE)) / largest or 1.0
        else:
            errors = [
                float((fmt.fake_quantize(x, amax=_range(seen, largest, float(s), fmt)) - x).square().sum())
                for s in _SHRINK
            ]
            share = float(_SHRINK[min(range(len(errors)), key=errors.__getitem__)])
        return _range(seen, largest, share, fmt)


def _range(seen: _Observed, largest: float, share: float, fmt: Format) -> Range:
    if fmt.has_zero_point:
        return min(0.0, seen.low * share), max(0.0, seen.high * share)
    return largest * share
