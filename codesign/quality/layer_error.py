"""What clipping and rounding a layer's input does to its output, on sampled rows of a calibration run."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from codesign.quality.rounding.moments import has_moments, inputs_of
from codesign.quality.rounding.rows import rows_of
from codesign.workload import Product

_EVEN, _LARGEST = 32, 8  # rows of a call: evenly spread ones, and those with the largest numbers
_MOST = 640  # rows of a site
_WIDE = 2048  # columns beyond which the products of two weights are left out


@dataclass
class LayerError:
    """Rows that an operand's site has read, each with the number of rows that it stands for."""

    rows: list[Tensor] = field(default_factory=list)  # float32 [G, r, K]
    counts: list[Tensor] = field(default_factory=list)  # [r]
    # what a row's error becomes in the output: [G, K, K] of the weights' products, [G, K] of their squares, or None
    # for an operand of attention, whose own error counts
    gram: Tensor | None = None

    def add(self, product: Product, *, stationary: bool = False) -> None:
        """Add some rows of a call: of the product's input, or of its key or value."""
        if sum(map(len, self.counts)) >= _MOST:
            return
        if product.kind in ("conv", "linear") and has_moments(product):
            rows = inputs_of(product)
            if self.gram is None:
                self.gram = _gram(rows_of(product).flatten(2).detach().float())
        else:
            x, axis = product.input, product.input_axis
            if stationary:
                x, axis = product.stationary, product.stationary_axis
            moved = x.detach().float().movedim(axis, -1)
            rows = moved.reshape(1, -1, moved.shape[-1])
            if self.rows and self.rows[0].shape[-1] != rows.shape[-1]:
                return  # a product over the tokens so far
        count = rows.shape[1]
        even = torch.linspace(0, count - 1, min(count, _EVEN)).round().long()
        largest = rows.abs().amax((0, 2)).topk(min(count, _LARGEST)).indices
        shares = torch.cat(
            [torch.full((len(even),), max(count - len(largest), 1) / len(even)), torch.ones(len(largest))]
        )
        self.rows.append(rows[:, torch.cat([even, largest])].clone())
        self.counts.append(shares)

    def settle(self) -> None:
        """Join the rows of all calls."""
        if len(self.rows) > 1:
            self.rows, self.counts = [torch.cat(self.rows, dim=1)], [torch.cat(self.counts)]

    def of(self, changed: Tensor) -> float:
        """Mean over rows of the output's squared error over its square, for `changed` values of `values`."""
        error = self._power(changed - self.values)
        return float((error / self._signal).double().mean(0) @ self.counts[0].double() / self.counts[0].double().sum())

    @property
    def values(self) -> Tensor:
        """The rows, float32 [G, r, K]."""
        self.settle()
        return self.rows[0]

    @property
    def _signal(self) -> Tensor:
        power = self._power(self.values)
        return power.clamp_min(1e-6 * float(power.mean()) + torch.finfo(torch.float32).tiny)

    def _power(self, rows: Tensor) -> Tensor:
        if self.gram is None:
            return rows.square().sum(-1)
        if self.gram.ndim == 2:
            return (rows.square() * self.gram[:, None]).sum(-1)
        return ((rows @ self.gram) * rows).sum(-1).clamp_min(0)


def _gram(weight: Tensor) -> Tensor:
    """[G, N, K] -> [G, K, K], or [G, K] of many columns."""
    if weight.shape[2] > _WIDE:
        return weight.square().sum(1)
    return weight.transpose(1, 2) @ weight
