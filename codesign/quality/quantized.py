"""Runs a network under an Assignment: weights and activations are fake-quantized, the module is not modified."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from codesign.errors import InputError, nearest
from codesign.formats import Assignment, Format, LayerFormats, get_format
from codesign.quality.ranges import Ranges, Site, sites
from codesign.workload import Product, ProductInterceptor


def quantize_weight(weight: Tensor, fmt: Format, axis: int) -> Tensor:
    """Fake-quantized weight: one scale per output channel, or blocks along `axis`, the contraction axis.

    The contraction of a convolution includes its taps, so an output channel is all of ``weight[o]``. Blocks run along
    the input channels at a fixed tap, in the order in which an implicit GEMM consumes them.
    """
    if fmt.is_block or weight.ndim == 2 or axis % weight.ndim == 0:
        return fmt.fake_quantize(weight, axis=axis)
    # empty_like keeps channels-last strides: a contiguous copy would run slower kernels
    return torch.empty_like(weight).copy_(fmt.fake_quantize(weight.flatten(1), axis=1).reshape(weight.shape))


class QuantizedNetwork:
    """`module` with its activation ranges and a cache of fake-quantized weights.

    Each weight is fake-quantized once per (layer, format), so that running another assignment only has to quantize
    activations.
    """

    def __init__(self, module: nn.Module, ranges: Ranges) -> None:
        self.module = module
        self.ranges = ranges
        self._weights: dict[tuple[str, str], Tensor] = {}

    @contextmanager
    def under(self, assignment: Assignment) -> Iterator[nn.Module]:
        """Context in which calls of the module are quantized; raises InputError for a layer without formats."""
        with ProductInterceptor(self.module, _Handler(self, assignment), decompose=True):
            yield self.module

    def weight(self, product: Product, fmt: Format) -> Tensor:
        """The fake-quantized weight of a conv or linear product (cached)."""
        key = (product.layer, fmt.name)
        if key not in self._weights:
            with torch.no_grad():
                self._weights[key] = quantize_weight(product.stationary.detach(), fmt, product.stationary_axis)
        return self._weights[key]

    def activation(self, x: Tensor, site: Site, fmt: Format, axis: int) -> Tensor:
        """Fake-quantized operand: with the calibrated range of the tensor, or in blocks along `axis`."""
        if fmt.is_block:
            return fmt.fake_quantize(x, axis=axis)
        if fmt.is_cast:
            return fmt.fake_quantize(x)
        return fmt.fake_quantize(x, amax=self.ranges.get(site, fmt))


class _Handler:
    """Interceptor's handler: replaces both operands of each product by their fake-quantized values."""

    def __init__(self, network: QuantizedNetwork, assignment: Assignment) -> None:
        self._network = network
        self._layers: dict[str, LayerFormats] = dict(assignment.layers)
        # q, k and v (or gate and up) read the same tensor: quantize it once. Holding the input keeps its id unique.
        self._last: tuple[Tensor, str, int, Tensor] | None = None

    def __call__(self, product: Product) -> tuple[Tensor, Tensor]:
        layer = self._layers.get(product.layer)
        if layer is None:
            raise InputError(f"the assignment has no layer '{product.layer}'{nearest(product.layer, self._layers)}")
        pair = layer.pair(product.kind)
        network = self._network
        site, stationary_site = sites(product)
        fmt = get_format(pair.weight)
        if stationary_site is None:
            stationary = network.weight(product, fmt)
        else:
            stationary = network.activation(product.stationary, stationary_site, fmt, product.stationary_axis)
        return self._input(product, site, pair.activation), stationary

    def _input(self, product: Product, site: Site, name: str) -> Tensor:
        x, axis = product.input, product.input_axis % product.input.ndim
        last = self._last
        if last is not None and last[0] is x and last[1] == name and last[2] == axis:
            return last[3]
        quantized = self._network.activation(x, site, get_format(name), axis)
        self._last = (x, name, axis, quantized)
        return quantized
