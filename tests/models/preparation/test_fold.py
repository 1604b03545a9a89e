"""Batch normalisations go into the layers before them, gains of norms into the layers after them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.models.preparation.networks import Apply, checked, modules, reasons, resnet, task_of


def test_batch_normalisations_go_into_convolutions_of_every_kind() -> None:
    made, found = checked(resnet(), "fold")
    folded = {names[:2] for names in modules(found.matches)}
    assert {("bn1", "conv1"), ("bn2", "conv2"), ("bn3", "conv3"), ("bn5", "up")} <= folded
    for name in ("bn1", "bn2", "bn3", "bn5"):
        assert type(made.module.get_submodule(name)) is nn.Identity
    assert made.module.get_submodule("conv1").bias is not None


def test_a_batch_normalisation_behind_an_addition_gives_its_gain_to_the_next_layer() -> None:
    made, found = checked(resnet(), "fold")
    assert ("bn4", "up") in modules(found.matches)
    assert torch.equal(made.module.get_submodule("bn4").weight, torch.ones(8))


def test_a_batch_normalisation_stays_where_its_input_is_also_read_elsewhere() -> None:
    def put(m: Any, x: Tensor) -> Tensor:
        x = m.conv(x)
        return m.bn(x) + x

    _, found = checked(task_of(Apply(put, conv=nn.Conv2d(3, 4, 1), bn=nn.BatchNorm2d(4)), 3, 4, 4), "fold")
    assert not found.matches
    assert "also read elsewhere" in found.unmatched[0].reason


def test_gain_and_shift_of_a_layer_norm_go_into_all_layers_that_read_it() -> None:
    def put(m: Any, x: Tensor) -> Tensor:
        x = m.norm(x)
        return m.a(x) * F.silu(m.b(x.flatten(0, 1)).view(-1, 5, 6))

    parts = {"norm": nn.LayerNorm(8), "a": nn.Linear(8, 6), "b": nn.Linear(8, 6, bias=False)}
    made, found = checked(task_of(Apply(put, **parts), 5, 8), "fold")
    assert modules(found.matches) == [("norm", "a", "b")]
    norm = made.module.get_submodule("norm")
    assert torch.equal(norm.weight, torch.ones(8))
    assert torch.equal(norm.bias, torch.zeros(8))
    assert made.module.get_submodule("b").bias is not None


def test_a_shift_does_not_go_into_a_convolution_that_pads_with_zeros() -> None:
    parts = {"norm": nn.GroupNorm(2, 8), "conv": nn.Conv2d(8, 4, 3, padding=1)}
    made, found = checked(task_of(Apply(lambda m, x: m.conv(m.norm(x)), **parts), 8, 6, 6), "fold")
    assert found.matches[0].what.startswith("gain into")
    assert made.module.get_submodule("norm").bias.abs().max() > 0


def test_two_norms_before_one_layer_both_give_it_their_shift() -> None:
    parts = {"left": nn.LayerNorm(8), "right": nn.LayerNorm(8), "a": nn.Linear(16, 4, bias=False)}
    put = Apply(lambda m, x: m.a(torch.cat([m.left(x), m.right(x.square())], dim=-1)), **parts)
    made, found = checked(task_of(put, 5, 8), "fold")
    assert modules(found.matches) == [("left", "a"), ("right", "a")]
    assert all(match.what.startswith("gain and shift") for match in found.matches)
    assert made.module.get_submodule("a").bias is not None


@pytest.mark.parametrize(
    ("put", "reason"),
    [
        (lambda m, x: m.a(F.silu(m.norm(x))), "'silu'"),
        (lambda m, x: m.b(m.a(y := m.norm(x)) + y), "'add'"),
        (lambda m, x: m.b(m.a(y := m.norm(x)) * (1 + y)), "'add'"),
        (lambda m, x: (m.a(y := m.norm(x)), y), "output of the network"),
        (lambda m, x: m.a(m.norm(x)) + F.linear(x, m.a.weight), "is used by 'linear'"),
        (lambda m, x: m.a(m.norm(x).flip(-1)) + m.a(m.norm(x)), "reads other channels"),
    ],
)
def test_a_gain_stays_where_it_would_change_something_else(put: Any, reason: str) -> None:
    parts = {"norm": nn.LayerNorm(8), "a": nn.Linear(8, 8), "b": nn.Linear(8, 8)}
    _, found = checked(task_of(Apply(put, **parts), 5, 8, output="0" if "output" in reason else ""), "fold")
    assert not found.matches
    assert reason in reasons(found)["norm"]


def test_a_norm_is_known_by_what_it_does() -> None:
    class Odd(nn.Module):
        """As Gemma's: the gain is 1 + w."""

        def __init__(self) -> None:
            super().__init__()
            self.excess = nn.Parameter(torch.zeros(8))

        def forward(self, x: Tensor) -> Tensor:
            return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * (1 + self.excess)

    class Bend(Odd):
        """Its parameter is no gain."""

        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(x * self.excess)

    parts = {"norm": Odd(), "a": nn.Linear(8, 8), "bend": Bend(), "b": nn.Linear(8, 8)}
    made, found = checked(task_of(Apply(lambda m, x: m.b(m.bend(m.a(m.norm(x)))), **parts), 5, 8), "fold")
    assert modules(found.matches) == [("norm", "a")]
    assert torch.equal(made.module.get_submodule("norm").excess, torch.zeros(8))
    assert not found.unmatched


def test_negative_gains_keep_their_sign_before_a_relu() -> None:
    parts = {"norm": nn.LayerNorm(8), "a": nn.Linear(8, 8)}
    task = task_of(Apply(lambda m, x: m.a(F.relu(m.norm(x))), **parts), 5, 8)
    with torch.no_grad():
        task.module.get_submodule("norm").weight[::2] *= -1
    made, found = checked(task, "fold")
    assert modules(found.matches) == [("norm", "a")]
    assert made.module.get_submodule("norm").weight.tolist() == [-1.0, 1.0] * 4
