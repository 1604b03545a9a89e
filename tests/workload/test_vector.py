"""Norms, activations and elementwise work that a trace finds beside the products."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.workload import trace


class Block(nn.Module):
    """Norm, product, activation, a second product, a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.up = nn.Linear(8, 32)
        self.down = nn.Linear(32, 8)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.silu(self.up(self.norm(x))) * 2)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_vector_work_follows_its_product_whether_shapes_or_numbers_are_computed(device: str) -> None:
    """Of 5 tokens: the norm before the first product counts with it."""
    module = Block().to(device)
    up, down = trace(module, torch.zeros(1, 5, 8, device=device), name="block").operators
    assert dict(up.vector) == {"norm": 40, "activation": 160, "elementwise": 160}
    assert dict(down.vector) == {"elementwise": 40}


def test_a_norm_written_out_counts_each_of_its_steps() -> None:
    """A mean reads more than it writes."""

    class WrittenOut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True)))

    (op,) = trace(WrittenOut(), torch.ones(3, 8), name="written").operators
    assert dict(op.vector) == {"elementwise": 24 + 24 + 3 + 24}
