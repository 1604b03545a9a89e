"""Second moments of the inputs of layers, which say what an error of a weight does to the layer's output."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from codesign.models.task import Task
from codesign.quality.rounding.rows import is_transposed
from codesign.quality.unchanged import Seen, seen, unchanged
from codesign.workload import Product, ProductInterceptor

_DAMPING = 0.01  # of the mean of the diagonal
_ROWS = 1 << 13  # most input rows that a call of a layer adds
_FUNCTIONS = ("linear", "matmul", "mm", "addmm", "conv1d", "conv2d", "conv3d")


class Moments:
    """E[x x^T] of layers' inputs, from runs of the calibration data.

    x is a row of the layer's contraction, T taps x C channels in the order of `rows_of`; padding counts, as it is read.
    Of more than 8192 rows in a call, evenly spread ones are taken. Matrices of `most` bytes at the most are held at a
    time: what is asked for is found in as many runs as that takes.
    """

    def __init__(self, task: Task, most: int = 1 << 31) -> None:
        self._task = task
        self._most = most

    def of(self, layers: Collection[str]) -> dict[str, Tensor]:
        """Layer -> float32 [G, K, K], of those layers that fit into one run; empty if none has any."""
        found: dict[str, Tensor] = {}
        counts: dict[str, int] = {}
        full: set[str] = set()
        last: tuple[Seen, Product, Tensor, int] | None = None  # q, k and v read the same tensor

        def observe(product: Product) -> None:
            nonlocal last
            layer = product.layer
            if layer not in layers or layer in full or not has_moments(product):
                return
            if last is not None and unchanged(last[0], product.input) and _alike(last[1], product):
                gram, count = last[2:]
            else:
                rows = inputs_of(product)
                gram, count = rows.transpose(1, 2) @ rows, rows.shape[1]
                last = seen(product.input), product, gram, count
            if layer not in found:
                size = gram.numel() * gram.element_size()
                if found and size + sum(m.numel() * m.element_size() for m in found.values()) > self._most:
                    full.add(layer)
                    return
                found[layer] = torch.zeros_like(gram)
            found[layer] += gram
            counts[layer] = counts.get(layer, 0) + count

        with torch.no_grad(), ProductInterceptor(self._task.module, observe, decompose=True):
            self._task.calibrate(self._task.module)
        return {layer: shrunk(moments / counts[layer], counts[layer]) for layer, moments in found.items()}


def shrunk(moments: Tensor, rows: int) -> Tensor:
    """Moments [G, K, K] of few rows, made invertible, with less of what columns seem to share by chance.

    Correlations are shrunk by the square of the intensity of the oracle approximating shrinkage estimator (Chen et
    al., 2010, IEEE Transactions on Signal Processing 58 (10), equation 23): inputs without correlation as by the
    estimator, those of networks, whose rank is low, hardly at all. Then 1 % of the mean of the diagonal is added to it,
    as in GPTQ; of outliers that is much to the other inputs, whose errors make up for little then, as they should.
    Inputs that were always zero take 1 % of the median, so that their weights count.
    """
    diagonal = moments.diagonal(dim1=1, dim2=2)
    middle, mean = diagonal.median(dim=1, keepdim=True).values, diagonal.mean(dim=1, keepdim=True)
    least = (0.01 * torch.where(middle > 0, middle, mean)).clamp_min(torch.finfo(torch.float32).tiny)
    diagonal = torch.maximum(diagonal, least)
    root = diagonal.double().sqrt()
    correlations = moments.double() / root[:, :, None] / root[:, None, :]
    correlations.diagonal(dim1=1, dim2=2).fill_(1)
    k = moments.shape[1]
    squares = correlations.square().sum((1, 2))  # the trace is k
    shares = ((1 - 2 / k) * squares + k**2) / ((rows + 1 - 2 / k) * (squares - k)).clamp_min(1e-12)
    result = (moments * (1 - shares.clamp(0, 1).square())[:, None, None]).float()
    result.diagonal(dim1=1, dim2=2).copy_(diagonal + _DAMPING * torch.maximum(mean, least))
    return result


def has_moments(product: Product) -> bool:
    """Whether the layer is a matrix product whose rows are known: no einsum, no bank of experts."""
    if product.kind == "conv":
        return True
    return product.function in _FUNCTIONS and product.stationary.ndim == 2


def _alike(a: Product, b: Product) -> bool:
    """Whether two products of one input read the same rows of it."""
    if a.kind != b.kind or a.function != b.function or a.input_axis != b.input_axis:
        return False
    if a.kind != "conv":
        return True
    same = a.stationary.shape[2:] == b.stationary.shape[2:] and a.groups == b.groups
    return same and all(_given(a, name) == _given(b, name) for name in _PLACES)


def inputs_of(product: Product) -> Tensor:
    """Rows that the product reads, float32 [G, rows, T * C]."""
    x = product.input.detach().float()
    if product.kind != "conv":
        moved = x.movedim(product.input_axis, -1)
        return _some(moved.reshape(1, -1, moved.shape[-1]))
    spatial = product.stationary.ndim - 2
    x = x.reshape(-1, *x.shape[-1 - spatial :])
    if is_transposed(product):  # each tap is a product with the pixel alone
        taps = product.stationary.shape[2:].numel()
        pixels = _grouped(x.flatten(2).transpose(1, 2), product.groups)
        width = pixels.shape[2]
        return torch.cat([F.pad(pixels, (t * width, (taps - 1 - t) * width)) for t in range(taps)], dim=1)
    return _patches(x, product, spatial)


def windows(x: Tensor, product: Product) -> Tensor:
    """What each output of a convolution reads of [N, C, ...], a view [N, *positions, *taps, C]; padding reads zeros."""
    taps = product.stationary.shape[2:]
    spatial = len(taps)
    stride, dilation = (_sizes(product, name, spatial) for name in ("stride", "dilation"))
    x = F.pad(x, [side for pair in reversed(_padding(product, dilation)) for side in pair])
    for axis, (tap, step, wide) in enumerate(zip(taps, stride, dilation, strict=True), start=2):
        x = x.unfold(axis, wide * (tap - 1) + 1, step)[..., ::wide]
    return x.permute(0, *range(2, 2 + 2 * spatial), 1)


def _patches(x: Tensor, product: Product, spatial: int) -> Tensor:
    """[N, C, ...] -> [G, rows, T * C]."""
    taps, patches = product.stationary.shape[2:], windows(x, product)
    lead = patches.shape[: 1 + spatial]
    taken = _spread(lead.numel())
    every = len(taken) == lead.numel()
    rows = patches.flatten(0, spatial) if every else patches[torch.unravel_index(taken, lead)]
    rows = rows.reshape(len(rows), taps.numel(), product.groups, -1)
    return rows.permute(2, 0, 1, 3).flatten(2)


_PLACES = {"stride": 1, "padding": 2, "dilation": 3}  # of a convolution's arguments after its weight


def _given(product: Product, name: str) -> Any:
    place = _PLACES[name]
    if len(product.rest) > place:
        return product.rest[place]
    return product.options.get(name, 0 if name == "padding" else 1)


def _sizes(product: Product, name: str, spatial: int) -> tuple[int, ...]:
    found = _given(product, name)
    return (found,) * spatial if isinstance(found, int) else tuple(found) * (spatial // len(found))


def _padding(product: Product, dilation: tuple[int, ...]) -> list[tuple[int, int]]:
    """Zeros before and after each axis."""
    found, taps = _given(product, "padding"), product.stationary.shape[2:]
    if not isinstance(found, str):
        return [(each, each) for each in _sizes(product, "padding", len(taps))]
    total = [wide * (tap - 1) if found == "same" else 0 for wide, tap in zip(dilation, taps, strict=True)]
    return [(each // 2, each - each // 2) for each in total]


def _grouped(rows: Tensor, groups: int) -> Tensor:
    """[N, rows, C] -> [G, N * rows, C / G]."""
    flat = _some(rows.reshape(1, -1, rows.shape[-1]))[0]
    return flat.reshape(len(flat), groups, -1).transpose(0, 1)


def _some(rows: Tensor) -> Tensor:
    """At most `_ROWS` of [G, rows, K]."""
    taken = _spread(rows.shape[1])
    return rows if len(taken) == rows.shape[1] else rows[:, taken]


def _spread(count: int) -> Tensor:
    return torch.linspace(0, count - 1, min(count, _ROWS)).round().long()
