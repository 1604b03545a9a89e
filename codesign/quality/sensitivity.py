"""Predicted loss of quantizing one layer, for all layers and format pairs, from a few backward passes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from codesign.errors import InputError
from codesign.formats import Format, FormatPair, get_format
from codesign.models.streaming import present
from codesign.quality.evaluator import Evaluator
from codesign.quality.gradients import differentiable
from codesign.quality.quantized import Kept, summed_axes
from codesign.quality.ranges import Site, sites
from codesign.quality.rounding.chosen import Wanted
from codesign.quality.unreached import Step, measured_losses
from codesign.workload import Product, ProductInterceptor

Key = tuple[Site, str]  # (operand, format)
_BATCHES = 3  # most batches that are differentiated
_EVERY, _FEW = 3, 12  # of more than 12 samples use every third; odd, so that interleaved tasks are all included


def sensitivities(
    evaluator: Evaluator,
    pairs: Sequence[FormatPair],
    *,
    probes: int = 3,
    seed: int = 0,
    step: Step | None = None,
) -> np.ndarray:
    """Predicted raw loss, float64 [layers, pairs], if one layer uses a pair and all others stay float.

    A Gauss-Newton (Fisher) estimate, similar to HAWQ-V2 (Dong et al., 2020) but without averaging the Hessian's trace.
    The deciding metric is taken as quadratic around the float network: loss = E (v . J delta)^2, where delta is the
    rounding error of one operand, J the derivative of the outputs and v a random probe with the curvature of the metric
    (`Task.probe`). One forward and `probes` backward passes give v . J for every operand of every layer; each format
    then adds only its own delta. Of many batches three are taken, and the probes shared out among them. Errors of
    different samples (activations) and of different output channels (weights) are assumed independent, which makes the
    estimate a sum of many squares and reduces its variance.

    The losses of layers that change the outputs, but that no gradient of them reaches (detach, argmax or rounding in
    the forward pass), are measured instead: `step` is called before each of these evaluations.
    """
    rows = [len(next(iter(outputs.values()))) for outputs in evaluator.reference()]
    taken = sorted(set(np.linspace(0, len(rows) - 1, min(len(rows), _BATCHES)).round().astype(int).tolist()))
    shares = [rows[place] / sum(rows[each] for each in taken) for place in taken]
    probes_each = -(-probes // len(taken))
    evaluator.network.forget()  # makes room for the graph of a batch
    weights = {(p.weight, p.method) for p in pairs}
    attention = "attention" in evaluator.layers.values()
    decided = [name for pair in pairs for name in (pair.activation, *([pair.weight] if attention else []))]
    evaluator.network.ranges.decide(decided)
    evaluator.chosen.find(Wanted.of(layer, *weight) for layer in evaluator.layers for weight in weights)
    collector = _Collector(evaluator, weights, {p.activation for p in pairs})
    generator = torch.Generator().manual_seed(seed)
    task = evaluator.task
    batches = task.batches(task.module, only=taken)
    for share in shares:  # one batch at a time, whose graph is then given up
        watching = ProductInterceptor(task.module, collector.watch, decompose=True)
        with _frozen(task.module), differentiable(task.module), watching:
            outputs = next(batches)
        for index in range(probes_each):  # the hooks collect the gradients of operands, and nothing keeps them
            with torch.enable_grad():
                probe = task.probe(outputs, generator)
            if probe.requires_grad:
                torch.autograd.backward(probe, retain_graph=index + 1 < probes_each)
            collector.end_probe(share)
        del outputs, probe
    table = np.array([[collector.loss(layer, pair) / probes_each for pair in pairs] for layer in evaluator.layers])
    unreached = [layer for layer, row in zip(evaluator.layers, table, strict=True) if not row.any()]
    if unreached:  # detach or argmax leave a layer without a gradient, rounding leaves it with one of zeros
        measured = measured_losses(evaluator, unreached, pairs, probes, generator, step or (lambda *_: None))
        places = {layer: place for place, layer in enumerate(evaluator.layers)}
        for (layer, pair), loss in measured.items():
            table[places[layer], pairs.index(pair)] = loss
    return table


class _Collector:
    """Gradient hooks on every operand, and sums of (gradient . rounding error)^2 per operand and format."""

    def __init__(self, evaluator: Evaluator, weights: set[tuple[str, str]], activation_formats: set[str]) -> None:
        self._network = evaluator.network
        self._kinds = evaluator.layers
        self._weights = [(get_format(name), method) for name, method in sorted(weights)]
        self._weight_formats = [get_format(name) for name in sorted({name for name, _ in weights})]
        self._activation_formats = [get_format(name) for name in sorted(activation_formats)]
        self._dots: dict[Key, Tensor] = {}
        self._losses: defaultdict[Key, float] = defaultdict(float)
        self._weight_errors = Kept(evaluator.task.kept_bytes // 4)  # beside the graph of a batch

    def watch(self, product: Product) -> tuple[Tensor, Tensor]:
        """Interceptor's handler: returns operands with gradient hooks."""
        site, stationary_site = sites(product)
        if product.input.is_inference():
            raise InputError(
                f"layer '{product.layer}' reads what the network's forward made in torch.inference_mode, which has no "
                "gradient: write torch.no_grad there"
            )
        axes, stationary_axes = summed_axes(product)
        x = _watched(product.input)
        x.register_hook(partial(self._activation, site, x.detach(), axes, self._activation_formats))
        w = _watched(product.stationary)
        if stationary_site is None:
            w.register_hook(partial(self._weight, replace(product, stationary=w.detach())))
        else:
            formats = self._weight_formats
            w.register_hook(partial(self._activation, stationary_site, w.detach(), stationary_axes, formats))
        return x, w

    @torch.no_grad()
    def _activation(
        self, site: Site, x: Tensor, axes: tuple[int, ...], formats: Iterable[Format], grad: Tensor
    ) -> None:
        # a third of the samples is enough, since rounding errors are averaged over all of their elements
        rows = slice(None, None, _EVERY if x.shape[0] > _FEW and 0 not in axes else 1)
        scale = (x.shape[0] / len(x[rows])) ** 0.5
        x, grad = x[rows].contiguous(), grad[rows]
        for fmt in formats:
            error = self._network.activation(x, site, fmt, axes) - x
            self._add((site, fmt.name), (error * grad).reshape(x.shape[0], -1).sum(dim=1) * scale)

    @torch.no_grad()
    def _weight(self, product: Product, grad: Tensor) -> None:
        weight = product.stationary
        with present(self._network.module, weight):
            for fmt, method in self._weights:
                key = (product.layer, f"{fmt.name}+{method}")
                known = self._weight_errors.get(key)
                error = known[1] if known is not None else self._network.rounded(product, fmt, method) - weight
                if known is None:
                    self._weight_errors.put(key, None, error)
                dots = (error * grad).reshape(weight.shape[0], -1).sum(dim=1)
                self._add(((product.layer, "weight"), key[1]), dots)

    def _add(self, key: Key, dots: Tensor) -> None:
        """Add the dot products of one call: calls of a layer make the same errors, so they add before squaring."""
        known = self._dots.get(key)
        self._dots[key] = dots if known is None else _summed(known, dots)

    def end_probe(self, share: float) -> None:
        """Count what a probe of a batch found; share: of the samples, that are in this batch."""
        for key, dots in self._dots.items():
            self._losses[key] += share * float(dots.double().square().sum())
        self._dots.clear()

    def loss(self, layer: str, pair: FormatPair) -> float:
        if self._kinds[layer] != "attention":
            weight = self._losses[((layer, "weight"), f"{pair.weight}+{pair.method}")]
            return weight + self._losses[((layer, "input"), pair.activation)]
        streamed = sum(self._losses[((layer, s), pair.activation)] for s in ("query", "probability"))
        return streamed + sum(self._losses[((layer, s), pair.weight)] for s in ("key", "value"))


def _summed(a: Tensor, b: Tensor) -> Tensor:
    """Sum of the dot products of two calls; calls with different numbers of samples are taken as different samples."""
    return a + b if a.shape == b.shape else torch.cat([a, b])


def _watched(x: Tensor) -> Tensor:
    """A view of an operand whose gradient comes from one product only; it is not kept after the hooks."""
    if x.requires_grad:
        return x.view_as(x)
    leaf = x.detach().requires_grad_()
    leaf.register_post_accumulate_grad_hook(_discard)
    return leaf


def _discard(leaf: Tensor) -> None:
    leaf.grad = None


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """Without gradients of the parameters themselves, which would fill as much memory as they do."""
    before = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in before:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in before:
            parameter.requires_grad_()
