"""What clipping and rounding a layer's input does to its output, on sampled rows of a calibration run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from codesign.quality.rounding.moments import has_moments, inputs_of
from codesign.quality.rounding.rows import rows_of
from codesign.workload import Product

_EVEN, _LARGEST = 64, 16  # rows of a call: evenly spread ones, and those with the largest numbers
_MOST = 320  # rows of a site


@dataclass
class LayerError:
    """Rows that an operand's site has read, each with the number of rows that it stands for."""

    rows: list[Tensor] = field(default_factory=list)  # float32 [G, r, K]
    counts: list[Tensor] = field(default_factory=list)  # [r]
    squares: Tensor | None = None  # of each column's weights, [G, K]; None: the operand's own error counts

    def add(self, product: Product, *, stationary: bool = False) -> None:
        """Add some rows of a call: of the product's input, or of its key or value."""
        if sum(map(len, self.counts)) >= _MOST:
            return
        if product.kind in ("conv", "linear") and has_moments(product):
            rows = inputs_of(product)
            if self.squares is None:
                self.squares = rows_of(product).detach().float().flatten(2).square().sum(1)
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
        signal = _power(rows, self.squares)
        signal = signal.clamp_min(1e-6 * float(signal.mean()) + torch.finfo(torch.float32).tiny)

        def error(change: Callable[[Tensor], Tensor]) -> float:
            return float((_power(change(rows) - rows, self.squares) / signal).double().mean(0) @ shares)

        return error


def _power(rows: Tensor, squares: Tensor | None) -> Tensor:
    """What rows [G, r, K] become in the output, squared, [G, r]: as if the errors of columns were independent."""
    found = rows.square() if squares is None else rows.square() * squares[:, None]
    return found.sum(-1)
