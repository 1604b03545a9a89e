"""Tensors that wait for a later product while others run."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from codesign.workload import trace


class Skip(nn.Module):
    """A result of the first product passes the second and third on its way to the fourth."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 5)
        self.third, self.fourth = nn.Linear(5, 6), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.first(x)
        inner = self.third(self.second(skip))
        return self.fourth(torch.cat([inner, skip], dim=-1))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_skip_connection_waits_from_its_birth_to_its_use(device: str) -> None:
    """The first result is the second product's own operand, and waits during the third only."""
    workload = trace(Skip().to(device), torch.zeros(2, 4, device=device))
    assert {op.layer: op.live_out_elements for op in workload.operators} == {
        "first": 12,
        "second": 0,
        "third": 0,
        "fourth": 0,
    }
    assert workload.peak_live_elements == 12


def test_a_residual_waits_behind_the_products_that_it_bypasses() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into, self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 32), nn.Linear(32, 8)

        def forward(self, x: Tensor) -> Tensor:
            x = self.into(x)
            return x + self.b(self.a(torch.relu(x)))

    workload = trace(Residual(), torch.zeros(3, 8))
    kept = {op.layer: op.live_out_elements for op in workload.operators}
    assert kept == {"into": 24, "a": 0, "b": 0}  # relu's result goes on to `a`; the sum before it waits for the end
    assert workload.peak_live_elements == 24


def test_queries_wait_for_keys_and_values() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = (part(x).unsqueeze(1) for part in (self.q, self.k, self.v))
            return nn.functional.scaled_dot_product_attention(q, k, v)

    workload = trace(Attention(), torch.zeros(1, 4, 8))
    kept = {op.layer: op.live_out_elements for op in workload.operators if not op.is_attention}
    assert kept == {"q": 32, "k": 32, "v": 32}  # the value waits while the scores are made
    assert workload.peak_live_elements == 64


def test_one_pass_through_a_repeated_layer_counts_all_its_calls() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared, self.out = nn.Linear(4, 4), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            a = self.shared(x)
            b = self.shared(a)
            c = self.shared(b)
            return self.out(torch.cat([a, c], dim=-1)) + b.sum()

    workload = trace(Twice(), torch.zeros(1, 4))
    assert [op.live_out_elements for op in workload.operators] == [8, 0]  # a behind two calls, b behind `out`


class Chain(nn.Module):
    """Convolutions one after the other, with or without something between them that needs the whole result."""

    def __init__(self, between: nn.Module, skip: bool = False) -> None:
        super().__init__()
        self.first, self.between, self.second = nn.Conv2d(3, 8, 3, padding=1), between, nn.Conv2d(8, 5, 3, padding=1)
        self.third, self.skip = nn.Conv2d(5, 2, 1), skip

    def forward(self, x: Tensor) -> Tensor:
        made = self.first(x)
        out = self.third(self.second(self.between(made)))
        return out + made.mean() if self.skip else out


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    "between", [nn.ReLU(), nn.ReLU(inplace=True), nn.Identity(), nn.Sequential(nn.SiLU(), nn.Tanh())]
)
def test_a_result_that_only_the_next_product_takes_element_by_element_is_handed_on(
    between: nn.Module, device: str
) -> None:
    """Three rows of 6 pixels of 8 channels; the pair is full, and the third waits for the whole second."""
    first, second, third = trace(Chain(between).to(device), torch.zeros(1, 3, 6, 6, device=device)).operators
    assert first.feeds_next
    assert (second.producer_weights, second.line_elements) == (8 * 3 * 9, 3 * 6 * 8)
    assert not second.feeds_next
    assert third.line_elements == 0


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    "module",
    [Chain(nn.GroupNorm(2, 8)), Chain(nn.Softmax(dim=1)), Chain(nn.ReLU(), skip=True)],
    ids=["norm", "softmax", "skip"],
)
def test_a_result_that_is_needed_whole_or_again_is_not(module: nn.Module, device: str) -> None:
    first, second, third = trace(module.to(device), torch.zeros(1, 3, 6, 6, device=device)).operators
    assert not first.feeds_next
    assert second.line_elements == 0
    assert third.line_elements == 6 * 5  # which the second hands on instead


def test_halves_of_a_result_multiplied_by_each_other_are_handed_on() -> None:
    """The gated feed-forward of a diffusion U-Net."""

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(4, 12), nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            value, gate = self.up(x).chunk(2, dim=-1)
            return self.down(value * nn.functional.gelu(gate))

    up, down = trace(Gated(), torch.zeros(3, 4)).operators
    assert up.feeds_next
    assert (down.producer_weights, down.line_elements) == (48, 6)
