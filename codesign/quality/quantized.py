"""Runs a network under an Assignment: weights and activations are fake-quantized, the module is not modified."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from codesign.errors import InputError, nearest
from codesign.formats import Assignment, Format, LayerFormats, get_format
from codesign.formats.assignment import NEAREST
from codesign.formats.layout import memory_order
from codesign.models.streaming import is_streamed
from codesign.quality.ranges import Range, Ranges, Site, sites
from codesign.quality.rounding.chosen import ChosenWeights, Wanted
from codesign.quality.unchanged import Seen, seen, unchanged
from codesign.workload import Product, ProductInterceptor
from codesign.workload.rooms import Rooms


def quantize_weight(weight: Tensor, fmt: Format, axis: int, *, kind: str = "conv", groups: int = 1) -> Tensor:
    """Fake-quantized weight: one scale per output channel, or blocks along `axis`, the contraction axis.

    The contraction of a convolution includes its taps, so an output channel is all of ``weight[o]``. Blocks run along
    the input channels at a fixed tap, in the order in which an implicit GEMM consumes them. The weight of a transposed
    convolution, [in, out / groups, ...], is quantized like that of the convolution with the same channels, so that
    groups share no scale.
    """
    if kind == "conv" and axis % weight.ndim == 0:
        inputs, outputs, *taps = weight.shape
        grouped = weight.reshape(groups, inputs // groups, outputs, *taps).transpose(1, 2)
        plain = grouped.reshape(groups * outputs, inputs // groups, *taps)
        found = quantize_weight(plain, fmt, 1).reshape(grouped.shape).transpose(1, 2)
        return torch.empty_like(weight).copy_(found.reshape(weight.shape))
    if fmt.is_block or kind != "conv":
        return fmt.fake_quantize(weight, axis=axis)
    # empty_like keeps channels-last strides: a contiguous copy would run slower kernels
    return torch.empty_like(weight).copy_(fmt.fake_quantize(weight.flatten(1), axis=1).reshape(weight.shape))


def summed_axes(product: Product) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The dimensions of (input, stationary operand) that a product sums over, first the one that blocks run along.

    Of a convolution's input all but the batch, since each pixel is in the sums of its neighbours.
    """
    x, w = product.input.ndim, product.stationary.ndim
    axis, stationary_axis = product.input_axis % x, product.stationary_axis % w
    if product.kind == "conv":
        return tuple(range(axis, x)), (stationary_axis,)
    if product.einsum is None:
        return (axis,), (stationary_axis,)
    labels = product.einsum
    taps = labels.k.replace(labels.a[axis], "")
    return (axis, *map(labels.a.index, taps)), (stationary_axis, *map(labels.b.index, taps))


def quantize_tokens(x: Tensor, fmt: Format, axes: tuple[int, ...], room: Tensor | None = None) -> Tensor:
    """Fake-quantized activation with a scale for each index of the dimensions that are not in `axes`, from its data.

    room: see `Format.fake_quantize`.
    """
    if len(axes) == 1:
        return fmt.fake_quantize(x, axis=axes[0], room=room)
    order = memory_order(x)
    if set(order[-len(axes) :]) == set(axes):  # an image of any memory order: nothing is copied
        laid = x.permute(order)
        found = fmt.fake_quantize(laid.flatten(-len(axes)), axis=-1, room=room).view(laid.shape)
        return found.permute(sorted(range(x.ndim), key=order.__getitem__))
    ends = tuple(range(-len(axes), 0))
    moved = x.movedim(axes, ends)
    found = fmt.fake_quantize(moved.flatten(-len(axes)), axis=-1).reshape(moved.shape)
    return torch.empty_like(x).copy_(found.movedim(ends, axes))


def quantized_weight(product: Product, fmt: Format) -> Tensor:
    """The fake-quantized weight of a convolution or linear product."""
    weight, axis = product.stationary.detach(), product.stationary_axis
    return quantize_weight(weight, fmt, axis, kind=product.kind, groups=product.groups)


@contextmanager
def opened(module: nn.Module) -> Iterator[nn.Module]:
    """Within the context the float module runs by the kernels of `QuantizedNetwork.under`: what torch would fuse is
    computed product by product, so that a difference between the two is one of formats alone."""
    with ProductInterceptor(module, lambda product: None, decompose=True, in_parts=True):
        yield module


class Kept:
    """Tensors by key, of `most` bytes at the most: where a new one needs room, others are given up by chance.

    Evaluations go through the layers in one order, so that giving up the oldest would give up each just before its use.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._bytes = 0
        self._found: dict[tuple[str, str], tuple[Tensor | None, Tensor]] = {}
        self._chance = random.Random(0)

    def get(self, key: tuple[str, str]) -> tuple[Tensor | None, Tensor] | None:
        return self._found.get(key)

    def put(self, key: tuple[str, str], made_from: Tensor | None, tensor: Tensor) -> None:
        """Keep a tensor, and what it was made from, unless it alone is larger than all may be."""
        self._give_up(key)
        size = _bytes(made_from) + _bytes(tensor)
        if size > self._most:
            return
        while self._bytes + size > self._most:
            self._give_up(self._chance.choice(list(self._found)))
        self._found[key] = (made_from, tensor)
        self._bytes += size

    def clear(self) -> None:
        self._found.clear()
        self._bytes = 0

    def _give_up(self, key: tuple[str, str]) -> None:
        found = self._found.pop(key, None)
        if found is not None:
            self._bytes -= sum(map(_bytes, found))


def _bytes(x: Tensor | None) -> int:
    return 0 if x is None else x.numel() * x.element_size()


class QuantizedNetwork:
    """`module` with its activation ranges and some fake-quantized weights.

    A weight is fake-quantized once per (layer, format, method), as far as `kept_bytes` go, so that running another
    assignment only has to quantize activations. A weight that the forward pass computes, from parameters or from its
    input, is quantized again whenever its value changes.
    """

    def __init__(
        self, module: nn.Module, ranges: Ranges, kept_bytes: int = 1 << 29, chosen: ChosenWeights | None = None
    ) -> None:
        self.module = module
        self.ranges = ranges
        self.chosen = chosen  # weights that are rounded by a method; None: all are rounded to the nearest
        self._weights = Kept(kept_bytes)
        self._parameters = {id(p) for p in module.parameters()}

    @contextmanager
    def under(self, assignment: Assignment) -> Iterator[nn.Module]:
        """Context in which calls of the module are quantized; raises InputError for a layer without formats."""
        of_layers = (formats.roles.items() for _, formats in assignment.layers)
        self.ranges.decide(name for roles in of_layers for role, name in roles if role != "weight")
        if self.chosen is not None:
            self.chosen.find(
                Wanted.of(layer, formats.weight, formats.method)
                for layer, formats in assignment.layers
                if formats.weight is not None and formats.method != NEAREST
            )
        with ProductInterceptor(self.module, _Handler(self, assignment), decompose=True, in_parts=True):
            yield self.module

    def forget(self) -> None:
        """Give up the weights that are kept, where their memory is needed for something else."""
        self._weights.clear()

    def weight(self, product: Product, fmt: Format, method: str = NEAREST) -> Tensor:
        """The fake-quantized weight of a conv or linear product (cached)."""
        key, weight = (product.layer, f"{fmt.datapath}+{method}"), product.stationary
        if is_streamed(self.module, weight):  # memory does not hold the weights of all layers
            with torch.no_grad():
                return self.rounded(product, fmt, method)
        base = weight if weight._base is None else weight._base
        source = None if id(base) in self._parameters else weight.detach()
        known = self._weights.get(key)
        if known is not None:
            made_from, quantized = known
            if source is None or (made_from is not None and _same(made_from, source)):
                return quantized
        with torch.no_grad():
            quantized = self.rounded(product, fmt, method)
        self._weights.put(key, None if source is None else source.clone(), quantized)  # it may be written over
        return quantized

    def rounded(self, product: Product, fmt: Format, method: str) -> Tensor:
        """The fake-quantized weight of a conv or linear product, which is not kept."""
        found = self.chosen.weight(product, fmt, method) if self.chosen is not None else None
        return quantized_weight(product, fmt) if found is None else found

    def activation(
        self, x: Tensor, site: Site, fmt: Format, axes: tuple[int, ...], room: Tensor | None = None
    ) -> Tensor:
        """Fake-quantized operand: with the calibrated range of the tensor, in blocks along the first of `axes`, or with
        scales that each share all of `axes`, which are the operand's `summed_axes`.

        The result for a sample does not depend on the other samples of the batch. room: see `Format.fake_quantize`.
        """
        amax = self.range_of(site, fmt)
        if fmt.per_token:
            return quantize_tokens(x, fmt, axes, room)
        return fmt.fake_quantize(x, axis=axes[0] if fmt.is_block else None, amax=amax, room=room)

    def range_of(self, site: Site, fmt: Format) -> Range | None:
        """The calibrated range of an operand; None for a format whose scales come from the data."""
        return self.ranges.get(site, fmt) if fmt.takes_range else None


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.device == b.device and torch.equal(a, b)


@dataclass(frozen=True, slots=True)
class _How:
    """How the operands of a product are quantized: the input, and the weight or other stationary operand."""

    fmt: Format
    site: Site
    axes: tuple[int, ...]
    amax: Range | None
    weight: Format
    method: str
    stationary_site: Site | None
    stationary_axes: tuple[int, ...]


class _Handler:
    """Interceptor's handler: replaces both operands of each product by their fake-quantized values."""

    def __init__(self, network: QuantizedNetwork, assignment: Assignment) -> None:
        self._network = network
        self._layers: dict[str, LayerFormats] = dict(assignment.layers)
        # q, k and v (or gate and up) read the same tensor: where their ranges are the same, it is quantized once
        self._last: tuple[Seen, tuple[Format, tuple[int, ...], Range | None], Tensor] | None = None
        self._how: dict[tuple[str, str, int, int, int, int], _How] = {}
        self._rooms = Rooms()

    def __call__(self, product: Product) -> tuple[Tensor, Tensor]:
        x, w = product.input, product.stationary
        key = (product.layer, product.kind, x.ndim, product.input_axis, w.ndim, product.stationary_axis)
        how = self._how.get(key) if product.einsum is None else self._looked_up(product)
        if how is None:
            how = self._how[key] = self._looked_up(product)
        network = self._network
        if how.stationary_site is None:
            stationary = network.weight(product, how.weight, how.method)
        else:
            room = self._room("stationary", w)
            stationary = network.activation(w, how.stationary_site, how.weight, how.stationary_axes, room)
        return self._input(x, how, product.spare), stationary

    def _looked_up(self, product: Product) -> _How:
        layer = self._layers.get(product.layer)
        if layer is None:
            raise InputError(
                f"layer '{product.layer}' runs on this data, but neither in the trace of the network nor in the "
                f"assignment: which layers run must not depend on the data{nearest(product.layer, self._layers)}"
            )
        pair = layer.pair(product.kind)
        fmt = get_format(pair.activation)
        site, axes = sites(product), summed_axes(product)
        amax = self._network.range_of(site[0], fmt)
        return _How(fmt, site[0], axes[0], amax, get_format(pair.weight), layer.method, site[1], axes[1])

    def _input(self, x: Tensor, how: _How, spare: bool) -> Tensor:
        last, wanted = self._last, (how.fmt, how.axes, how.amax)
        if last is not None and unchanged(last[0], x) and last[1] == wanted:
            return last[2]
        in_place = spare and how.amax is not None and not how.fmt.is_block and x.is_contiguous()
        room = x if in_place else self._room("input", x)
        quantized = self._network.activation(x, how.site, how.fmt, how.axes, room)
        self._last = (seen(x), wanted, quantized)
        return quantized

    def _room(self, operand: str, x: Tensor) -> Tensor | None:
        """Memory for a quantized operand until the next product; None where gradients need what is in it."""
        return None if torch.is_grad_enabled() else self._rooms.take(operand, (x.numel(),), x)
