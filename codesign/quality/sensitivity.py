"""How much each (layer, format) costs in quality, all at once, from a few backward passes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from codesign.formats import Format, FormatPair, get_format
from codesign.quality.evaluator import Evaluator
from codesign.quality.quantized import quantize_weight
from codesign.quality.ranges import Site, sites
from codesign.workload import Product, ProductInterceptor

Key = tuple[Site, str]  # (operand, format)
_EVERY, _FEW = 3, 12  # of more than 12 samples every third; odd, so that tasks in turn all take part


def sensitivities(evaluator: Evaluator, pairs: Sequence[FormatPair], *, probes: int = 3, seed: int = 0) -> np.ndarray:
    """Predicted raw loss [layers, pairs] when one layer alone takes a pair and all others stay float.

    The deciding metric is quadratic around the float network: loss = sum (v . J delta)^2 for the
    change `delta` of one operand, J the derivative of the outputs and v probes with the curvature
    of the metric (`Task.probe`). One forward pass and `probes` backward passes give v.J for every
    operand of every layer; each format then only needs its own rounding error `delta`. Errors of
    different samples (activations) and different output channels (weights) are taken as independent,
    which makes the estimate a sum of many squares instead of one. It is a Gauss-Newton / Fisher
    estimate in the manner of Dong et al., HAWQ-V2, 2020, without their average over the Hessian's trace.
    """
    collector = _Collector(evaluator, {p.weight for p in pairs}, {p.activation for p in pairs})
    generator = torch.Generator().manual_seed(seed)
    task = evaluator.task
    with torch.enable_grad(), ProductInterceptor(task.module, collector.watch, decompose=True):
        outputs = task.run(task.module)
    for index in range(probes):
        # leaves under the graph get no .grad: the hooks collect what is wanted and the sum is discarded
        torch.autograd.backward(task.probe(outputs, generator), retain_graph=index + 1 < probes)
        collector.end_probe()
    for parameter in task.module.parameters():
        parameter.grad = None
    return np.array([[collector.loss(layer, pair) / probes for pair in pairs] for layer in evaluator.layers])


class _Collector:
    """Hooks on every operand; sums of (gradient . rounding error) per format."""

    def __init__(self, evaluator: Evaluator, weight_formats: set[str], activation_formats: set[str]) -> None:
        self._network = evaluator.network
        self._kinds = evaluator.layers
        self._weight_formats = [get_format(name) for name in sorted(weight_formats)]
        self._activation_formats = [get_format(name) for name in sorted(activation_formats)]
        self._dots: dict[Key, Tensor] = {}
        self._losses: defaultdict[Key, float] = defaultdict(float)
        self._weight_errors: dict[Key, Tensor] = {}

    def watch(self, product: Product) -> tuple[Tensor, Tensor]:
        """Interceptor's handler: operands that report their gradient."""
        site, stationary_site = sites(product)
        x = _watched(product.input)
        x.register_hook(partial(self._activation, site, x.detach(), product.input_axis, self._activation_formats))
        w = _watched(product.stationary)
        if stationary_site is None:
            w.register_hook(partial(self._weight, product.layer, w.detach(), product.stationary_axis))
        else:
            formats, axis = self._weight_formats, product.stationary_axis
            w.register_hook(partial(self._activation, stationary_site, w.detach(), axis, formats))
        return x, w

    @torch.no_grad()
    def _activation(self, site: Site, x: Tensor, axis: int, formats: Iterable[Format], grad: Tensor) -> None:
        # rounding errors of a third of the samples are enough: they are averaged over all of their elements
        rows, axis = slice(None, None, _EVERY if x.shape[0] > _FEW else 1), axis % x.ndim
        scale = (x.shape[0] / len(x[rows])) ** 0.5
        x, grad = x[rows].contiguous(), grad[rows]
        for fmt in formats:
            error = self._network.activation(x, site, fmt, axis) - x
            self._add((site, fmt.name), (error * grad).reshape(x.shape[0], -1).sum(dim=1) * scale)

    @torch.no_grad()
    def _weight(self, layer: str, weight: Tensor, axis: int, grad: Tensor) -> None:
        for fmt in self._weight_formats:
            key = ((layer, "weight"), fmt.name)
            if key not in self._weight_errors:
                self._weight_errors[key] = quantize_weight(weight, fmt, axis) - weight
            self._add(key, (self._weight_errors[key] * grad).reshape(weight.shape[0], -1).sum(dim=1))

    def _add(self, key: Key, dots: Tensor) -> None:
        """A layer that runs in every step makes the same error each time: its dots add before they are squared."""
        known = self._dots.get(key)
        self._dots[key] = dots if known is None else _summed(known, dots)

    def end_probe(self) -> None:
        for key, dots in self._dots.items():
            self._losses[key] += float(dots.double().square().sum())
        self._dots.clear()

    def loss(self, layer: str, pair: FormatPair) -> float:
        if self._kinds[layer] != "attention":
            return self._losses[((layer, "weight"), pair.weight)] + self._losses[((layer, "input"), pair.activation)]
        streamed = sum(self._losses[((layer, s), pair.activation)] for s in ("query", "probability"))
        return streamed + sum(self._losses[((layer, s), pair.weight)] for s in ("key", "value"))


def _summed(a: Tensor, b: Tensor) -> Tensor:
    """Dots of two calls; calls with different numbers of samples have no samples in common."""
    return a + b if a.shape == b.shape else torch.cat([a, b])


def _watched(x: Tensor) -> Tensor:
    """A stand-in for one operand of one product, whose gradient is that of this product alone."""
    return x.view_as(x) if x.requires_grad else x.detach().requires_grad_()
