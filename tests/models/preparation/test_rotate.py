"""The residual stream and the heads' values are rotated, and every layer with them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.models.preparation.hadamard import random_rotation
from codesign.models.rewrite.network import RmsNorm
from tests.models.preparation.networks import Apply, checked, modules, reasons, task_of


@pytest.mark.parametrize("size", [1, 8, 9, 48])
def test_a_rotation_is_orthogonal_and_spreads_every_channel(size: int) -> None:
    found = random_rotation(size, 0)
    torch.testing.assert_close(found @ found.T, torch.eye(size, dtype=torch.float64))
    assert torch.equal(found, random_rotation(size, 0))
    if size == 8:
        torch.testing.assert_close(found.abs(), torch.full((8, 8), 8**-0.5, dtype=torch.float64))


def block(norm: nn.Module, put: Any = None) -> nn.Module:
    def usual(m: Any, x: Tensor) -> Tensor:
        x = m.inside(x)
        x = x + m.down(F.silu(m.gate(y := m.norm(x))) * m.up(y))
        return m.head(m.last(x))

    return Apply(
        put or usual,
        inside=nn.Linear(5, 12),
        norm=norm,
        gate=nn.Linear(12, 16, bias=False),
        up=nn.Linear(12, 16),
        down=nn.Linear(16, 12),
        last=RmsNorm(12),
        head=nn.Linear(12, 5),
    )


def test_a_stream_between_norms_and_linear_layers_is_rotated() -> None:
    made, found = checked(task_of(block(RmsNorm(12)), 6, 5), "rotate")
    (stream,) = [match for match in found.matches if match.what.startswith("residual stream")]
    assert set(stream.modules) == {"inside", "down", "gate", "up", "head"}
    assert torch.equal(made.module.get_submodule("norm").weight, torch.ones(12))


@pytest.mark.parametrize(
    ("norm", "put", "reason"),
    [
        (nn.LayerNorm(12), None, "a rotation changes"),
        (RmsNorm(12), lambda m, x: m.head(m.norm(F.relu(m.inside(x)))), "'relu'"),
        (RmsNorm(12), lambda m, x: m.head(m.last(m.norm(m.inside(x)))), "keeps a gain"),
        (RmsNorm(12), lambda m, x: m.head(F.silu(m.norm(m.inside(x)))), "keeps a gain"),
        (RmsNorm(12), lambda m, x: m.head(m.norm(y := m.inside(x))) + F.silu(y).mean(), "'silu'"),
        (RmsNorm(12), lambda m, x: m.head(m.norm(m.inside(x) + m.last.weight)), "'add'"),
    ],
)
def test_a_stream_stays_where_something_else_reads_or_writes_it(norm: nn.Module, put: Any, reason: str) -> None:
    task = task_of(block(norm, put), 6, 5)
    made, found = checked(task, "rotate")
    assert not found.matches
    assert any(reason in each for each in reasons(found).values())
    assert torch.equal(made.module.get_submodule("last").weight, task.module.get_submodule("last").weight)


def test_values_stay_where_a_layer_does_not_read_whole_heads() -> None:
    def put(m: Any, x: Tensor, skipped: int = 0) -> Tensor:
        q, k, v = (y.unflatten(-1, (2, 6)).transpose(1, 2) for y in m.qkv(x).chunk(3, dim=-1))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return m.o(mixed.roll(skipped, dims=-1))

    parts = {"qkv": nn.Linear(8, 36), "o": nn.Linear(12, 8)}
    _, found = checked(task_of(Apply(put, **parts), 5, 8), "rotate")
    assert modules(found.matches) == [("qkv", "o")]
    _, found = checked(task_of(Apply(lambda m, x: put(m, x, 1), **parts), 5, 8), "rotate")
    assert not found.matches
    assert "whole" in reasons(found)["qkv"]
