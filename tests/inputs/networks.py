"""Networks that go wrong, for the cases."""

from __future__ import annotations

from typing import Any

import torch

from tests.tiny import task


class Overflowing(torch.nn.Module):
    """As good as its float self, and infinite in any other format."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.head(x)
        exact = (x[:, None] * self.head.weight).sum(-1) + self.head.bias
        wrong = (y - exact).abs().max() > 1e-4
        return torch.where(wrong, torch.full_like(y, torch.inf), y)


def overflowing() -> tuple[Any, Any, Any, None]:
    torch.manual_seed(0)
    x = torch.randn(24, 32)
    return Overflowing(), x, x, None


def failing() -> tuple[Any, Any, Any, None]:
    raise AssertionError("labels do not fit")


def one_nan() -> tuple[Any, Any, Any, None]:
    """One sample of the evaluation data is no number."""
    module, calibration, evaluation, metric = task()
    evaluation = evaluation.clone()
    evaluation[3, 0, 2, 2] = float("nan")
    return module, calibration, evaluation, metric


def no_tuple() -> object:
    return task()[0]


def leaving() -> object:
    raise SystemExit(0)
