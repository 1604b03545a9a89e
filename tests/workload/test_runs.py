"""How long the runs are along which blocks of a format lie, per product."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from codesign.errors import InputError
from codesign.workload import trace
from codesign.workload.types import Operator
from tests.hardware.cases import linear

IMAGE = torch.ones(1, 6, 5, 5)


@pytest.mark.parametrize(
    ("module", "x", "runs", "taps"),
    [
        (nn.Conv2d(40, 24, 3), torch.ones(1, 40, 5, 5), (40, 40, 24), 9),
        (nn.Conv2d(3, 8, (3, 2)), torch.ones(1, 3, 5, 5), (3, 3, 8), 6),
        (nn.Conv2d(6, 12, 3, groups=6), IMAGE, (1, 6, 12), 9),
        (nn.Conv1d(80, 20, 2, groups=2), torch.ones(1, 80, 7), (40, 80, 20), 2),
        (nn.Conv2d(6, 10, 3), IMAGE[0], (6, 6, 10), 9),
        (nn.ConvTranspose2d(40, 6, 3), torch.ones(1, 40, 5, 5), (40, 40, 6), 1),
        (nn.ConvTranspose2d(6, 10, (2, 3), groups=2), IMAGE, (3, 6, 10), 1),
        (nn.Linear(100, 8), torch.ones(3, 100), (100, 100, 8), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_runs_are_of_stationary_operand_input_and_output(
    module: nn.Module, x: Tensor, runs: tuple[int, int, int], taps: int
) -> None:
    op = trace(module, x).operators[0]
    assert (op.runs, op.taps) == (runs, taps)


def test_the_run_of_an_attention_product_is_its_contraction() -> None:
    """Two heads of 8 elements, 5 tokens; the result has the channels of both heads."""
    heads = torch.ones(1, 2, 5, 8)

    class Attention(nn.Module):
        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return nn.functional.scaled_dot_product_attention(q, k, v)

    scores, values = trace(Attention(), (heads, heads, heads)).operators
    assert (scores.runs[:2], values.runs) == ((8, 8), (5, 5, 16))


def test_an_einsum_over_two_axes_has_a_run_of_the_inner_one() -> None:
    class Einsum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3, 8, 7))

        def forward(self, x: Tensor) -> Tensor:
            return torch.einsum("bhd,hdo->bo", x, self.weight)

    op = trace(Einsum(), torch.ones(2, 3, 8)).operators[0]
    assert (op.k, op.runs, op.taps) == (24, (8, 8, 7), 3)


def test_without_a_run_all_of_k_is_one() -> None:
    op = linear("x", 4, 8, 100)
    assert (op.runs, op.taps) == ((100, 100, 8), 1)


def test_a_run_that_does_not_divide_the_contraction_is_refused() -> None:
    with pytest.raises(InputError, match="layer 'x': run 4 does not divide K 27"):
        Operator("x", "conv", "forward", 4, 4, 27, 1, 1, 1, 1, run=4)
