"""A network's products as batches of matrix products of codes, and their results in the network's own shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F

from codesign.errors import InputError
from codesign.export.certificate.operands import Coded, rows_for_unit
from codesign.hardware.rtl.verify.products import Codes
from codesign.quality.rounding.moments import windows
from codesign.quality.rounding.rows import is_transposed
from codesign.workload import Product

_MOST = 1 << 23  # codes of streamed rows at a time

Multiply = Callable[[Codes, Codes], Tensor]  # (weight [B or 1, N, K], activation [B, M, K]) -> float64 [B, M, N]


@dataclass(frozen=True)
class Matrices:
    """A product as matrices, for as long as it runs: `multiply` computes sums of codes, the rest is as torch has it."""

    product: Product
    multiply: Multiply

    def result(self, x: Coded, w: Coded) -> Tensor:
        """The result of the product's function, float64, of the input `x` and the stationary operand `w`.

        w: of a layer the rows [N, K] or [N, T, C] of `ScoredNetwork.weight`; of an attention key or value.
        Raises InputError for a function that is not known here.
        """
        product = self.product
        if product.kind == "conv":
            return self._transposed(x, w) if is_transposed(product) else self._convolved(x, w)
        if product.einsum is not None:
            return self._einsum(x, w)
        if product.function in ("linear", "matmul", "mm", "bmm", "addmm", "baddbmm", "scaled_dot_product_attention"):
            return self._multiplied(x, w)
        raise InputError(f"layer '{product.layer}': {product.function} cannot be certified yet")

    # -- two matrices, or batches of them -----------------------------------------------------------

    def _multiplied(self, x: Coded, w: Coded) -> Tensor:
        product, rest, options = self.product, self.product.rest, self.product.options
        layer = product.kind == "linear"
        streamed = x.moved(product.input_axis)
        stationary = w if layer else w.moved(product.stationary_axis)
        if product.kind == "attention_pv" or product.kind == "attention_qk":
            copies = streamed.codes.shape[-3] // stationary.codes.shape[-3] if product.stationary.ndim > 2 else 1
            if product.function == "scaled_dot_product_attention" and copies > 1:
                stationary = stationary.map(lambda t: t if t.shape[-3] == 1 else t.repeat_interleave(copies, dim=-3))
        if layer and product.stationary.ndim != 2:
            raise InputError(f"layer '{product.layer}': a batch of weights cannot be certified yet")
        found = self._batched(streamed, stationary)  # [..., M, N]
        if product.function == "linear":
            bias = rest[0] if rest else options.get("bias")
            return found if bias is None else found + bias.double()
        if product.function == "scaled_dot_product_attention":
            return found * _factor(product) if product.kind == "attention_qk" else found
        if product.input_axis % product.input.ndim != product.input.ndim - 1:  # the input is the right operand
            found = found.transpose(-1, -2)
        if product.function in ("addmm", "baddbmm"):
            found = options.get("beta", 1) * rest[0].double() + options.get("alpha", 1) * found
        return found

    def _batched(self, x: Coded, w: Coded) -> Tensor:
        """[..., M, K] by [..., N, K] -> [..., M, N], with scales."""
        n = w.codes.shape[-2]
        if w.codes.ndim == 2:
            lead = x.codes.shape[:-1]
            found = self._rows(x.map(lambda t: t.reshape(1, -1, 1, t.shape[-1])), w.map(lambda t: t[None, :, None]))
            scales = x.outer.expand(*lead, 1) if x.outer.ndim else x.outer
            return found.reshape(*lead, n) * scales * (w.outer[:, 0] if w.outer.ndim else w.outer)
        batch = torch.broadcast_shapes(x.codes.shape[:-2], w.codes.shape[:-2])

        def laid(t: Tensor) -> Tensor:
            return t.expand(*batch, *t.shape[-2:]).reshape(-1, t.shape[-2], 1, t.shape[-1])

        whole = [each.map(laid) for each in (_alone(x), _alone(w))]
        found = self._rows(*whole).reshape(*batch, -1, n)
        return found * x.outer * (w.outer.transpose(-1, -2) if w.outer.ndim else w.outer)

    def _rows(self, x: Coded, w: Coded) -> Tensor:
        """Sums [B, M, N] of codes [B, M, T, C] and [B or 1, N, T, C], some rows at a time."""
        block = max(x.block, w.block)
        weight = rows_for_unit(w.codes, w.scale_codes, w.block, block)
        batch, m, taps, channels = x.codes.shape
        each = max(1, _MOST // (taps * channels))
        parts = []
        for b in range(0, batch, max(1, each // m)):
            at = slice(b, b + max(1, each // m))
            some = weight if len(weight.codes) == 1 else Codes(
                weight.codes[at], None if weight.scale_codes is None else weight.scale_codes[at]
            )  # fmt: skip
            rows = []
            for begin in range(0, m, each):
                chosen = (at, slice(begin, begin + each))
                scales = None if x.scale_codes is None else x.scale_codes[chosen]
                rows.append(self.multiply(some, rows_for_unit(x.codes[chosen], scales, x.block, block)))
            parts.append(torch.cat(rows, dim=1))
        return torch.cat(parts)

    # -- einsum -------------------------------------------------------------------------------------

    def _einsum(self, x: Coded, w: Coded) -> Tensor:
        product, labels = self.product, self.product.einsum
        assert labels is not None
        if len(labels.k) != 1:
            raise InputError(f"layer '{product.layer}': an einsum over {len(labels.k)} dimensions cannot be certified")
        sizes = dict(zip(labels.a, product.input.shape, strict=True))
        sizes |= dict(zip(labels.b, product.stationary.shape, strict=True))
        b = labels.b.replace(labels.k, "")
        if product.kind == "linear":  # rows [N, K], whose N are all other dimensions in their order
            w = w.map(lambda t: t.reshape(*(sizes[c] for c in b), t.shape[-1]))
        else:
            w = w.moved(labels.b.index(labels.k))
        x = x.moved(labels.a.index(labels.k))
        a = labels.a.replace(labels.k, "")

        def laid(t: Tensor, own: str, rows: str) -> Tensor:
            order = [own.index(c) for c in labels.batch + rows]
            t = t.permute(*order, len(own))
            t = t.expand(*(sizes[c] for c in labels.batch + rows), t.shape[-1])
            return t.reshape(prod(sizes[c] for c in labels.batch), prod(sizes[c] for c in rows), t.shape[-1])

        found = self._batched(x.map(lambda t: laid(t, a, labels.m)), w.map(lambda t: laid(t, b, labels.n)))
        order = labels.batch + labels.m + labels.n
        return torch.einsum(f"{order}->{labels.out}", found.reshape([sizes[c] for c in order]))

    # -- convolutions -------------------------------------------------------------------------------

    def _convolved(self, x: Coded, w: Coded) -> Tensor:
        """Rows are the windows that the outputs of a group read; what pads an image is a zero with scale code 0."""
        product, groups = self.product, self.product.groups
        x = _with_batch(x, product)
        spatial, outputs = product.stationary.ndim - 2, product.stationary.shape[0]
        taps, inputs = product.stationary.shape[2:].numel(), product.stationary.shape[1]
        weight = w.map(lambda t: t.reshape(groups, outputs // groups, -1, t.shape[-1]))
        parts = []
        for image in _images(x, product):
            view = windows(image.codes, product)
            positions = view.shape[1 : 1 + spatial]
            codes = view.reshape(-1, taps, groups, inputs).permute(2, 0, 1, 3)
            scales = None
            if image.scale_codes is not None:
                scales = _grouped_scales(windows(image.scale_codes, product), product, image.block)
            found = self._rows(Coded(x.format, codes, scales, x.outer), weight)  # [G, images * positions, N]
            parts.append(found.permute(1, 0, 2).reshape(-1, *positions, outputs))
        scale = w.outer.reshape(-1) if w.outer.ndim else w.outer
        result = (torch.cat(parts) * scale).movedim(-1, 1) * x.outer
        return self._with_bias(result)

    def _transposed(self, x: Coded, w: Coded) -> Tensor:
        """Every tap of a kernel is an output of its own; those that meet at a pixel are added behind the unit."""
        product, groups = self.product, self.product.groups
        x = _with_batch(x, product)
        spatial, inputs = product.stationary.ndim - 2, product.stationary.shape[0] // groups
        taps = product.stationary.shape[2:]
        count, pixels = taps.numel(), x.codes.shape[2:]
        outputs = w.codes.shape[0]
        weight = w.map(lambda t: t.reshape(groups, -1, 1, t.shape[-1]))
        codes = x.codes.flatten(2).transpose(1, 2).reshape(-1, 1, groups, inputs).permute(2, 0, 1, 3)
        scales = None
        if x.scale_codes is not None:
            laid = x.scale_codes.flatten(2).transpose(1, 2).flatten(0, 1)[:, None]
            scales = _grouped_scales(laid, product, x.block)
        found = self._rows(Coded(x.format, codes, scales, x.outer), weight)  # [G, images * pixels, N * T]
        found = found.permute(1, 0, 2).reshape(-1, *pixels, outputs, count)
        if w.outer.ndim:
            found = found * w.outer.reshape(outputs, 1)
        found = found.flatten(-2).movedim(-1, 1) * x.outer
        place = torch.eye(count, dtype=torch.float64).reshape(1, count, 1, *taps).expand(outputs, -1, -1, *taps)
        names = ("bias", "stride", "padding", "output_padding", "groups", "dilation")
        options = dict(zip(names, product.rest, strict=False)) | dict(product.options)
        options |= {"bias": None, "groups": outputs}
        scatter = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[spatial - 1]
        return self._with_bias(scatter(found, place.flatten(0, 1), **options))

    def _with_bias(self, result: Tensor) -> Tensor:
        product = self.product
        bias = product.rest[0] if product.rest else product.options.get("bias")
        if bias is not None:
            result = result + bias.double().reshape(-1, *(1 for _ in range(result.ndim - 2)))
        return result[0] if product.input.ndim < product.stationary.ndim else result


def _factor(product: Product) -> float:
    """By which the scores of `scaled_dot_product_attention` are multiplied."""
    scale = product.rest[3] if len(product.rest) > 3 else product.options.get("scale")
    return float(1 / math.sqrt(product.input.shape[-1]) if scale is None else scale)


def _alone(x: Coded) -> Coded:
    """Without its outer scales, which are applied in the tensor's own shape."""
    return Coded(x.format, x.codes, x.scale_codes, torch.ones(()))


def _with_batch(x: Coded, product: Product) -> Coded:
    return x.map(lambda t: t[None]) if product.input.ndim < product.stationary.ndim else x


def _images(x: Coded, product: Product) -> Iterator[Coded]:
    """Some images at a time, so that their windows fit into memory."""
    size = max(1, prod(x.codes.shape[1:]) * product.stationary.shape[2:].numel())
    each = max(1, _MOST // size)
    for begin in range(0, len(x.codes), each):
        at = slice(begin, begin + each)
        yield Coded(x.format, x.codes[at], None if x.scale_codes is None else x.scale_codes[at], x.outer)


def _grouped_scales(view: Tensor, product: Product, block: int) -> Tensor:
    """Scale codes [..., *taps, blocks of all channels] as those of each group, [G, rows, T, blocks of a group].

    Raises InputError if a group begins or ends within a block, and is no part of one.
    """
    groups = product.groups
    inputs = product.stationary.shape[0] // groups if is_transposed(product) else product.stationary.shape[1]
    taps = 1 if is_transposed(product) else product.stationary.shape[2:].numel()
    laid = view.reshape(-1, taps, view.shape[-1])
    if groups == 1:
        return laid[None]
    if inputs % block and block % inputs:
        raise InputError(f"layer '{product.layer}': groups of {inputs} channels with blocks of {block}")
    each = max(1, inputs // block)
    first = torch.arange(groups) * inputs // block
    return laid[:, :, first[:, None] + torch.arange(each)].permute(2, 0, 1, 3)
