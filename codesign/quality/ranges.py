"""Static activation ranges: observed once on the calibration data, fitted once per format."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast, get_args

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from codesign.errors import EnvironmentProblem, InputError, nearest
from codesign.formats import Format, get_format
from codesign.models.task import Task
from codesign.quality.cache import ResultCache
from codesign.quality.histogram import Histogram
from codesign.quality.layer_error import LayerError
from codesign.quality.range_trial import OutputTrial
from codesign.terms import DEFAULT_RULE, RangeRule
from codesign.workload import Product, ProductInterceptor

log = logging.getLogger(__name__)

Site = tuple[str, str]  # (layer, operand): input of conv and linear; query, key, probability or value of attention
Range = float | tuple[float, float]  # a magnitude, or (low, high) for formats with a zero point

_TRIED: tuple[RangeRule, ...] = ("minmax", "output", "mse")  # by rule auto; the first wins a tie
_KIND = "range rule"  # of a result in the cache
_PERCENTILE = 0.9999
_COARSE = 2.0 ** (-torch.arange(33) / 4)  # coarse search of rule mse: shares of the full range, down to 1/256
_FINE = 16  # shares of the fine search, between the neighbours of the best coarse one
_HOPELESS = 4.0  # times the least error so far: the search stops, as smaller ranges clip even more
_WORTH = 0.998  # of the error of the full range: smaller gains are within the resolution of the histogram

_NAMED = 8  # samples that an error lists

_OPERANDS = {"attention_qk": ("query", "key"), "attention_pv": ("probability", "value")}


def sites(product: Product) -> tuple[Site, Site | None]:
    """The sites of the streamed and the stationary operand of a product; None for a weight, which has no range."""
    names = _OPERANDS.get(product.kind)
    if names is None:
        return (product.layer, "input"), None
    return (product.layer, names[0]), (product.layer, names[1])


@dataclass
class _Observed:
    low: float = math.inf
    high: float = -math.inf
    elements: Histogram = field(default_factory=Histogram)
    layer: LayerError = field(default_factory=LayerError)


class Ranges:
    """Clipping ranges of a network's activations, for any format, from one run of its calibration data.

    Every element of the calibration run is observed. Rules:
      minmax      the largest magnitude
      percentile  the 99.99 % quantile of the magnitudes
      mse         the range with the least squared error of fake quantization over all elements, by a coarse-to-fine
                  grid search; never worse than minmax. Differs by format: int8 clips outliers that fp8 represents.
      output      the range with which the layer's own output changes least, relative to each of its rows, by the same
                  search on sampled rows
      auto        for each format that of minmax, output and mse with which the network's outputs change least on the
                  calibration data, where all activations are in this format and weights are not quantized: a language
                  model lives on outliers that cost few layers much, which no layer sees alone
    Block formats, formats per token and casts need no range: their scales come from the data.

    cache: where the rules that trials chose are kept, so that another process need not try again.

    Raises InputError if an operand holds NaN or infinity, naming the layer and the samples that hold it already, or if
    the run performs no matrix product.
    """

    def __init__(self, task: Task, rule: RangeRule = DEFAULT_RULE, cache: ResultCache | None = None) -> None:
        self.rule = check_rule(rule)
        self._cache = cache
        self._name = task.name
        self._seen: dict[Site, _Observed] = {}
        self._fitted: dict[tuple[Site, str, RangeRule], Range] = {}
        self._rules: dict[str, RangeRule] = {}  # of formats, by rule auto
        self._trial = OutputTrial(task)
        self._calls = 0  # of the network
        self._given: Any = None  # the arguments of the last call, while it runs
        hook = task.module.register_forward_pre_hook(self._enter, with_kwargs=True)
        observing = ProductInterceptor(task.module, self._observe, decompose=True)
        with torch.inference_mode(), observing:
            try:
                task.calibrate(task.module)
            finally:
                hook.remove()
                self._given = None
        for seen in self._seen.values():
            seen.elements.settle()
        if not self._seen:
            raise InputError(f"{task.name}: the calibration run performed no matrix product")

    def _enter(self, _module: object, *given: Any) -> None:
        self._calls += 1
        self._given = given

    def _observe(self, product: Product) -> None:
        first, second = sites(product)
        self._record(first, product.input)
        if second is not None:
            self._record(second, product.stationary)
        if self.rule in ("output", "auto"):
            for site, stationary in ((first, False), (second, True)):
                if site in self._seen and site is not None:
                    self._seen[site].layer.add(product, stationary=stationary)

    def _record(self, site: Site, x: Tensor) -> None:
        if not x.numel():
            return
        low, high = (float(v) for v in x.detach().aminmax())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise InputError(
                f"{self._name}: layer '{site[0]}': its {site[1]} holds NaN or infinity in the calibration run"
                f"{_origin(self._given, self._calls)}"
            )
        seen = self._seen.setdefault(site, _Observed())
        seen.low, seen.high = min(seen.low, low), max(seen.high, high)
        if self.rule != "minmax":
            seen.elements.add(x)

    def get(self, site: Site, fmt: Format) -> Range:
        """The clipping range for `fmt` at `site`: a magnitude, or (low, high) for a format with a zero point.

        Raises InputError if the operand was not observed in the calibration run.
        """
        if site not in self._seen:
            raise InputError(f"layer '{site[0]}': its {site[1]} was not seen during calibration")
        return self._of(site, fmt, self.rule_of(fmt))

    def rule_of(self, fmt: Format) -> RangeRule:
        """The rule of a format: under rule auto the one that its trials chose."""
        if self.rule != "auto" or fmt.is_block:
            return self.rule
        if fmt.name not in self._rules:
            known = self._cache.get(fmt.name, _KIND) if self._cache is not None else None
            self._rules[fmt.name] = known if known in _TRIED else self._tried(fmt)
            if self._cache is not None and known not in _TRIED:
                with suppress(EnvironmentProblem):  # whoever keeps results there will say so
                    self._cache.put(fmt.name, _KIND, self._rules[fmt.name])
        return self._rules[fmt.name]

    def _tried(self, fmt: Format) -> RangeRule:
        distances = {rule: self._trial.distance(partial(self._rounded, fmt, rule)) for rule in _TRIED}
        if any(each > 0 for each in distances.values()) and min(distances.values()) < math.inf:
            return min(distances, key=distances.__getitem__)
        log.warning("%s: no outputs in calibration tell ranges of %s apart: rule mse", self._name, fmt.name)
        return "mse"

    def decide(self, names: Iterable[str]) -> None:
        """Find the rules of formats, which runs the network: not to be done while it runs."""
        for name in dict.fromkeys(names):
            fmt = get_format(name)
            if fmt.takes_range:
                self.rule_of(fmt)

    def _rounded(self, fmt: Format, rule: RangeRule, product: Product) -> tuple[Tensor, Tensor]:
        """The operands of a product, activations in a format by a rule and weights as they are."""
        found = [
            x if site is None or site not in self._seen else fmt.fake_quantize(x, amax=self._of(site, fmt, rule))
            for x, site in zip((product.input, product.stationary), sites(product), strict=True)
        ]
        return found[0], found[1]

    def _of(self, site: Site, fmt: Format, rule: RangeRule) -> Range:
        key = (site, fmt.name, rule)
        if key not in self._fitted:
            self._fitted[key] = self._fit(self._seen[site], fmt, rule)
        return self._fitted[key]

    def _fit(self, seen: _Observed, fmt: Format, rule: RangeRule) -> Range:
        largest = max(abs(seen.low), abs(seen.high))
        if largest == 0:
            return (0.0, 0.0) if fmt.has_zero_point else 0.0
        share = 1.0
        if fmt.is_block:  # the outer scale of two levels clips nothing
            return largest
        if rule == "percentile":
            share = _quantile(*seen.elements.rows()) / largest or 1.0
        elif rule == "mse":
            share = _least_error(partial(_element_error, seen, largest, fmt))
        elif rule == "output":
            error = seen.layer.relative()
            share = _least_error(
                lambda share: error(lambda rows: fmt.fake_quantize(rows, amax=_range(seen, largest, share, fmt)))
            )
        return _range(seen, largest, share, fmt)


def _origin(given: Any, calls: int) -> str:
    """Which samples of the network's arguments, in the last of its calls, hold NaN or infinity themselves."""
    if given is None:
        return ""
    floats = [leaf for leaf in tree_leaves(given) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    rows = sorted({row for x in floats if x.ndim for row in _not_finite(x)})
    if not rows:
        return ", which its data do not: the network makes it"
    some = ", ".join(map(str, rows[:_NAMED])) + (", ..." if len(rows) > _NAMED else "")
    call = f" in call {calls}" if calls > 1 else ""
    count = max(len(x) for x in floats if x.ndim)
    return f", as {len(rows)} of {count} samples of its data do{call}: {some} (counted from 0)"


def _not_finite(x: Tensor) -> list[int]:
    """The indices along the first axis at which a tensor holds NaN or infinity."""
    bad = ~x.isfinite()
    found: list[int] = (bad.flatten(1).any(dim=1) if bad.ndim > 1 else bad).nonzero().flatten().tolist()
    return found


def check_rule(rule: str) -> RangeRule:
    """Return `rule`; raises InputError with the nearest rule if it is unknown."""
    for known in get_args(RangeRule):
        if rule == known:
            return cast(RangeRule, known)
    raise InputError(f"unknown range rule '{rule}'{nearest(rule, get_args(RangeRule))}")


def _quantile(values: Tensor, counts: Tensor) -> float:
    """The magnitude that a share `_PERCENTILE` of the elements does not exceed."""
    magnitudes, order = values.abs().sort()
    below = counts[order].cumsum(0)
    return float(magnitudes[torch.searchsorted(below, math.ceil(_PERCENTILE * int(below[-1])))])


def _element_error(seen: _Observed, largest: float, fmt: Format, share: float) -> float:
    """The squared error of fake quantization over all elements."""
    values, counts = seen.elements.rows()
    change = fmt.fake_quantize(values, amax=_range(seen, largest, share, fmt)).sub_(values).double()
    return float(counts.double() @ change.square_())


def _least_error(error: Callable[[float], float]) -> float:
    """The share of the full range with the least error, by a coarse, then a fine grid search."""
    errors = dict[float, float]()

    def look(shares: Iterable[float]) -> float:
        for share in shares:
            errors[share] = error(share)
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
