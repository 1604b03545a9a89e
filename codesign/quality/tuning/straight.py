"""A quantized network that can be trained: gradients pass the rounding as if it were not there.

The straight-through estimator (Bengio et al., 2013, arXiv:1308.3432): what is rounded has the gradient 1, and 0 where
it was clipped to the end of a calibrated range.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from codesign.formats import Format
from codesign.formats.assignment import NEAREST
from codesign.quality.quantized import QuantizedNetwork, quantized_weight
from codesign.quality.ranges import Site
from codesign.workload import Product


class _StraightThrough(torch.autograd.Function):
    """`rounded` in the forward pass, bit for bit; in the backward pass the gradient of x, where `inside` is True."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rounded: Tensor, inside: Tensor | None) -> Tensor:
        ctx.inside = inside
        return rounded.view_as(rounded)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = grads
        return grad if ctx.inside is None else grad * ctx.inside, None, None


class TrainedNetwork(QuantizedNetwork):
    """A `QuantizedNetwork` with gradients, whose weights may change from call to call; they are rounded to the nearest.

    Its forward pass is that of a `QuantizedNetwork` with the same module and ranges.
    """

    def weight(self, product: Product, fmt: Format, method: str = NEAREST) -> Tensor:
        return _passed(product.stationary, quantized_weight(product, fmt), None)

    def activation(
        self, x: Tensor, site: Site, fmt: Format, axes: tuple[int, ...], room: Tensor | None = None
    ) -> Tensor:
        rounded = super().activation(x.detach(), site, fmt, axes)  # its own memory: the backward pass needs it
        inside = None
        if fmt.takes_range and not fmt.is_block:  # other scales come from the data, which they hold
            found = self.ranges.get(site, fmt)
            low, high = found if isinstance(found, tuple) else (-found, found)
            inside = (x.detach() >= low) & (x.detach() <= high)
        return _passed(x, rounded, inside)


def _passed(x: Tensor, rounded: Tensor, inside: Tensor | None) -> Tensor:
    found: Tensor = _StraightThrough.apply(x, rounded, inside)  # type: ignore[no-untyped-call]  # torch's
    return found
