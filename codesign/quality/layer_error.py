"""What clipping and rounding a layer's input does to its output, on sampled rows of a calibration run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from codesign.quality.rounding.moments import has_moments, inputs_of
from codesign.quality.rounding.rows import rows_of
from codesign.workload import Product

_EVEN, _LARGEST = 64, 16  # rows of a call: evenly spread ones, and those with the largest numbers
_MOST = 320  # rows of a site
_WIDE = 2048  # columns beyond which the products of two weights are left out
_OUTPUTS = 1024  # of a layer that are looked at


@dataclass
class LayerError:
    """Rows that an operand's site has read, each with the number of rows that it stands for."""

    rows: list[Tensor] = field(default_factory=list)  # float32 [G, r, K]
    counts: list[Tensor] = field(default_factory=list)  # [r]
    weight: Product | None = None  # of a weight that stays in memory; None: the operand's own error counts

    def add(self, product: Product, *, stationary: bool = False, weighs: bool = True) -> None:
        """Add some rows of a call: of the product's input, or of its key or value. weighs: see `weight`."""
        if sum(map(len, self.counts)) >= _MOST:
            return
        if product.kind in ("conv", "linear") and has_moments(product):
            rows = inputs_of(product)
            if weighs and self.weight is None:
                self.weight = replace(product, input=product.input.new_empty(0), stationary=product.stationary.detach())
        else:
            x, axis = product.input, product.input_axis
            if stationary:
                x, axis = product.stationary, product.stationary_axis
            moved = x.detach().float().movedim(axis, -1)
            rows = moved.reshape(1, -1, moved.shape[-1])
            if self.rows and self.rows[0].shape[-1] != rows.shape[-1]:
                return  # a product over the tokens so far
        count = rows.shape[1]
        even = torch.linspace(0, count - 1, min(count, _EVEN), device=rows.device).round().long()
        largest = rows.abs().amax((0, 2)).topk(min(count, _LARGEST)).indices
        shares = torch.ones(len(even) + len(largest), device=rows.device)
        shares[: len(even)] = max(count - len(largest), 1) / len(even)
        self.rows.append(rows[:, torch.cat([even, largest])].clone())
        self.counts.append(shares)

    def relative(self) -> Callable[[Callable[[Tensor], Tensor]], float]:
        """A function that tells what a change of the rows does to the layer's output.

        It takes what changes rows [G, r, K], and returns the mean over rows of the output's squared error over its
        square.
        """
        if len(self.rows) > 1:
            self.rows, self.counts = [torch.cat(self.rows, dim=1)], [torch.cat(self.counts)]
        rows, shares = self.rows[0], self.counts[0].double() / self.counts[0].double().sum()
        gram = None if self.weight is None else _gram(self.weight)
        signal = _power(rows, gram)
        signal = signal.clamp_min(1e-6 * float(signal.mean()) + torch.finfo(torch.float32).tiny)

        def error(change: Callable[[Tensor], Tensor]) -> float:
            return float((_power(change(rows) - rows, gram) / signal).double().mean(0) @ shares)

        return error


def _power(rows: Tensor, gram: Tensor | None) -> Tensor:
    """What rows [G, r, K] become in the output, squared, [G, r]."""
    if gram is None:
        return rows.square().sum(-1)
    if gram.ndim == 2:
        return (rows.square() * gram[:, None]).sum(-1)
    return ((rows @ gram) * rows).sum(-1).clamp_min(0)


def _gram(weight: Product) -> Tensor:
    """[G, K, K] of the products of a weight's columns, or [G, K] of their squares if there are many."""
    every = rows_of(weight).flatten(2)
    some = torch.linspace(0, every.shape[1] - 1, min(every.shape[1], _OUTPUTS)).round().long()
    outputs = every[:, some].float()
    if outputs.shape[2] > _WIDE:
        return outputs.square().sum(1)
    return outputs.transpose(1, 2) @ outputs
