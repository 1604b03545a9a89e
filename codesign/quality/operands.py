"""Sampled rows and columns of every matrix product in a calibration run, to check the arithmetic of units."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from codesign.formats import FormatPair, get_format
from codesign.formats.format import Amax, Quantized
from codesign.models.task import Task
from codesign.quality.ranges import Ranges, Site, sites
from codesign.quality.rounding import ChosenWeights
from codesign.quality.rounding.moments import has_moments
from codesign.quality.rounding.rows import is_transposed
from codesign.workload import Product, ProductInterceptor

SAMPLED = 16  # largest number of rows, and of columns, taken from a product


@dataclass(frozen=True)
class LayerOperands:
    """Sampled operands of one matrix product, contracted over T taps of C channels.

    The rows are evenly spread over one image, head and convolution group; blocks of a format run along C.
    """

    layer: str
    kind: str  # conv | linear | attention_qk | attention_pv
    site: Site  # whose range applies to `streamed`
    stationary_site: Site | None  # whose range applies to `stationary`; None for a weight
    streamed: Tensor  # float32 [M, T, C], M <= 16
    stationary: Tensor  # float32 [N, T, C], N <= 16
    low: Tensor  # float32 [M, 1], the least element that shares the scale of a row of `streamed` in a format per token:
    high: Tensor  # of the row itself, or of the sample of a convolution; and the largest
    # int64 [N, T], of a weight: the place of each vector [C] of `stationary` among those of `rows_of`, counted through
    # its groups, outputs and taps; None of an activation, and of a weight that no method rounds
    places: Tensor | None

    def weight(self, pair: FormatPair, chosen: ChosenWeights) -> Tensor | Quantized:
        """`stationary`, or what the pair's method has rounded it to, as codes [N, T, C]."""
        if self.places is None:
            return self.stationary
        found = chosen.of_layer(self.layer, get_format(pair.weight), pair.method)
        return self.stationary if found is None else self._sampled(found, self.places)

    def _sampled(self, rows: Quantized, places: Tensor) -> Quantized:
        """The part of a weight, [R, T, C] or [R, T * C], that `stationary` is."""
        channels = self.stationary.shape[2]
        taps = rows.codes[0].numel() // channels

        def shared(scales: Tensor) -> Tensor:
            """One for each block of a vector, or one for each row, of which a vector is a part."""
            if rows.format.is_block:
                return scales.flatten(0, 1)[places]
            return scales[places[:, :1] // taps]

        assert rows.scales is not None
        return replace(
            rows,
            codes=rows.codes.reshape(-1, channels)[places],
            scales=shared(rows.scales),
            zero_points=None if rows.zero_points is None else shared(rows.zero_points),
            axis=2,
        )

    def ranges(self, pair: FormatPair, calibrated: Ranges) -> tuple[Amax | None, Amax | None]:
        """The ranges of (stationary, streamed) that quality uses with `pair`; None where it has none."""
        return self._range(self.stationary_site, pair.weight, calibrated), self._streamed(pair.activation, calibrated)

    def _streamed(self, name: str, calibrated: Ranges) -> Amax | None:
        fmt = get_format(name)
        if not fmt.per_token:
            return self._range(self.site, name, calibrated)
        return (self.low, self.high) if fmt.has_zero_point else torch.maximum(self.high, -self.low)

    @staticmethod
    def _range(site: Site | None, name: str, calibrated: Ranges) -> Amax | None:
        fmt = get_format(name)
        return calibrated.get(site, fmt) if site is not None and fmt.takes_range else None


def sample_operands(task: Task) -> tuple[LayerOperands, ...]:
    """Operands of every product in a calibration run; of a layer's calls, the first with the longest contraction."""
    found: dict[tuple[str, str], LayerOperands] = {}

    def observe(product: Product) -> None:
        key = (product.layer, product.kind)
        known = found.get(key)
        if known is None or _length(product) > known.streamed.shape[1:].numel():
            streamed, stationary = (x.detach().float().clone() for x in _matrices(product))
            low, high = (x.detach().float() for x in _bounds(product, streamed))
            found[key] = LayerOperands(*key, *sites(product), streamed, stationary, low, high, _places(product))

    with torch.inference_mode(), ProductInterceptor(task.module, observe, decompose=True):
        task.calibrate(task.module)
    return tuple(found.values())


def _length(product: Product) -> int:
    """Contraction length if it can differ between calls of a layer (the second attention product), else 0."""
    return product.input.shape[product.input_axis] if product.kind == "attention_pv" else 0


def _bounds(product: Product, streamed: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the largest element, [M, 1] each, of what shares a scale per token with each row of `streamed`."""
    rows = streamed.flatten(1)
    if product.kind == "conv":
        w = product.stationary
        x = product.input.reshape(-1, *product.input.shape[1 - w.ndim :])
        taps = (1,) * (w.ndim - 2) if product.function.startswith("conv_transpose") else w.shape[2:]
        positions = prod(max(size - tap + 1, 1) for size, tap in zip(x.shape[2:], taps, strict=True))
        rows = x.flatten(1)[_spread(len(x) * positions) // positions]
    return rows.amin(1, keepdim=True), rows.amax(1, keepdim=True)


def _places(product: Product) -> Tensor | None:
    """`LayerOperands.places` of a product, whose stationary operand `_matrices` has sampled."""
    if sites(product)[1] is not None or not has_moments(product):
        return None
    w = product.stationary
    if product.kind != "conv":
        return _spread(w.shape[1 - product.stationary_axis % 2])[:, None]
    taps = w.shape[2:].numel()
    if is_transposed(product):
        return _spread(w.shape[1] * taps)[:, None]
    return _spread(w.shape[0] // product.groups)[:, None] * taps + torch.arange(taps)


def _matrices(product: Product) -> tuple[Tensor, Tensor]:
    """(streamed [M, T, C], stationary [N, T, C]) of a product."""
    x, w = product.input, product.stationary
    if product.kind == "conv":
        return _transposed(x, w, product.groups) if is_transposed(product) else _convolved(x, w)
    if product.einsum is not None:
        labels = product.einsum
        taps = labels.k.replace(labels.a[product.input_axis], "")
        order = taps + labels.a[product.input_axis]
        return (
            _sampled(_labelled(x, labels.a, labels.batch, labels.m, order), len(taps)),
            _sampled(_labelled(w, labels.b, labels.batch, labels.n, order), len(taps)),
        )
    x, w = x.movedim(product.input_axis, -1), w.movedim(product.stationary_axis, -1)
    if w.ndim > 2:  # one of a batch of matrices
        x, w = (t[(0,) * (t.ndim - 2)] for t in (x, w))
    return _sampled(x, 0), _sampled(w, 0)


def _sampled(x: Tensor, taps: int) -> Tensor:
    """At most `SAMPLED` evenly spread rows of [..., *taps, C] as [rows, T, C]."""
    shape = x.shape[x.ndim - 1 - taps :]
    rows = x.reshape(-1, prod(shape[:-1]), shape[-1])
    return rows[_spread(len(rows))]


def _spread(count: int) -> Tensor:
    """At most `SAMPLED` evenly spread indices below `count`."""
    return torch.linspace(0, count - 1, min(count, SAMPLED)).long()


def _labelled(x: Tensor, labels: str, batch: str, rows: str, order: str) -> Tensor:
    """An einsum operand's first batch entry as [*rows, *contraction]."""
    chosen = x[tuple(0 if c in batch else slice(None) for c in labels)]
    left = [c for c in labels if c not in batch]
    return chosen.permute([left.index(c) for c in rows + order])


def _convolved(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """(streamed, stationary) of a convolution: input patches and kernels of the first group, no padded positions."""
    taps = tuple(w.shape[2:])
    outputs = w.shape[0] * w.shape[1] // x.shape[1 - w.ndim]
    x = x.reshape(-1, *x.shape[1 - w.ndim :])[:, : w.shape[1]]
    short = [(size, max(tap - size, 0)) for size, tap in zip(x.shape[2:], taps, strict=True)]
    x = torch.nn.functional.pad(x, [p for _, missing in reversed(short) for p in (0, missing)])
    for axis, tap in enumerate(taps, start=2):
        x = x.unfold(axis, tap, 1)  # a view: [batch, channels, *positions, *taps]
    spatial = len(taps)
    patches = x.permute(0, *range(2, 2 + 2 * spatial), 1)  # [batch, *positions, *taps, channels]
    lead = patches.shape[: 1 + spatial]
    rows = [torch.unravel_index(i, lead) for i in _spread(prod(lead))]
    streamed = torch.stack([patches[index].reshape(-1, w.shape[1]) for index in rows])
    return streamed, _sampled(w[:outputs].movedim(1, -1), spatial)


def _transposed(x: Tensor, w: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """(streamed, stationary) of a transposed convolution: pixels of the first group, each tap of a kernel an output."""
    x, inputs = x.reshape(-1, *x.shape[1 - w.ndim :]), w.shape[0] // groups
    return _sampled(x[:, :inputs].movedim(1, -1), 0), _sampled(w[:inputs].movedim(0, -1), 0)
