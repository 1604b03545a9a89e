"""Run a network under an Assignment: fake-quantized weights and activations, module untouched."""

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
    """Fake-quantized weight: plain formats with one scale per output channel, blocks along `axis`.

    `axis` is the contraction axis; a convolution's taps belong to its contraction too, so its
    output channel is the whole of ``weight[o]``. Blocks run along input channels at a fixed tap, as
    the dot product of an implicit GEMM consumes them.
    """
    if fmt.is_block or weight.ndim == 2 or axis % weight.ndim == 0:
        return fmt.fake_quantize(weight, axis=axis)
    # empty_like keeps channels-last strides: a contiguous copy would run slower kernels
    return torch.empty_like(weight).copy_(fmt.fake_quantize(weight.flatten(1), axis=1).reshape(weight.shape))


class QuantizedNetwork:
    """`module` with the ranges of its activations and every weight quantized so far.

    A weight is fake-quantized once per (layer, format) and kept; an assignment costs only the
    activations that it quantizes on the way.
    """

    def __init__(self, module: nn.Module, ranges: Ranges) -> None:
        self.module = module
        self.ranges = ranges
        self._weights: dict[tuple[str, str], Tensor] = {}

    @contextmanager
    def under(self, assignment: Assignment) -> Iterator[nn.Module]:
        """Within the context, calls of the module are quantized; raises InputError on an unknown layer."""
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
        """Fake-quantized operand: the calibrated per-tensor range, or blocks along `axis`."""
        if fmt.is_block:
            return fmt.fake_quantize(x, axis=axis)
        if fmt.is_cast:
            return fmt.fake_quantize(x)
        return fmt.fake_quantize(x, amax=self.ranges.get(site, fmt))


class _Handler:
    """Replaces both operands of each product by what the assignment says."""

    def __init__(self, network: QuantizedNetwork, assignment: Assignment) -> None:
        self._network = network
        self._layers: dict[str, LayerFormats] = dict(assignment.layers)
        # q, k and v (gate and up) read one tensor: quantize it once. The input is held, so its id cannot be reused.
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
