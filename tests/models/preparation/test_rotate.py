"""The residual stream and the heads' values are rotated, and every layer with them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.models.preparation.hadamard import centred_rotation, random_rotation
from codesign.models.rewrite.network import RmsNorm
from tests.models.preparation.networks import Apply, checked, modules, reasons, task_of


@pytest.mark.parametrize("size", [1, 8, 9, 48])
def test_a_rotation_is_orthogonal_and_spreads_every_channel(size: int) -> None:
    one = torch.eye(size, dtype=torch.float64)
    found = random_rotation(size, 0)(one)
    torch.testing.assert_close(found @ found.T, one)
    assert torch.equal(found, random_rotation(size, 0)(one))
    if size == 8:
        torch.testing.assert_close(found.abs(), torch.full((8, 8), 8**-0.5, dtype=torch.float64))


@pytest.mark.parametrize("size", [2, 12])
def test_a_centred_rotation_keeps_the_mean(size: int) -> None:
    ones = torch.ones(size, dtype=torch.float64)
    found = centred_rotation(size, 0)(ones.diag())
    torch.testing.assert_close(found @ found.T, ones.diag())
    torch.testing.assert_close(found @ ones, ones)


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
        last=nn.LayerNorm(12) if isinstance(norm, nn.LayerNorm) else RmsNorm(12),
        head=nn.Linear(12, 5),
    )


@pytest.mark.parametrize("norm", [RmsNorm(12), nn.LayerNorm(12)])
def test_a_stream_between_norms_and_linear_layers_is_rotated(norm: nn.Module) -> None:
    made, found = checked(task_of(block(norm), 6, 5), "rotate")
    (stream,) = [match for match in found.matches if match.what.startswith("residual stream")]
    assert set(stream.modules) == {"inside", "down", "gate", "up", "head"}
    assert torch.equal(made.module.get_submodule("norm").weight, torch.ones(12))


@pytest.mark.parametrize(
    ("norm", "put", "reason"),
    [
        (nn.LayerNorm(12), lambda m, x: m.head(F.relu(m.norm(m.inside(x)))), "has a gain or shift"),
        (RmsNorm(12), lambda m, x: m.head(m.norm(F.relu(m.inside(x)))), "'relu'"),
        (RmsNorm(12), lambda m, x: m.head(m.last(m.norm(m.inside(x)))), "has a gain or shift"),
        (RmsNorm(12), lambda m, x: m.head(m.norm(m.last(m.inside(x)))), "has a gain or shift"),
        (RmsNorm(12), lambda m, x: m.head(F.silu(m.norm(m.inside(x)))), "has a gain or shift"),
        (RmsNorm(12), lambda m, x: m.head(m.norm(y := m.inside(x))) + F.silu(y).mean(), "'silu'"),
        (RmsNorm(12), lambda m, x: m.head(m.norm(m.inside(x) + m.last.weight)), "begins with"),
    ],
)
def test_a_stream_stays_where_something_else_reads_or_writes_it(norm: nn.Module, put: Any, reason: str) -> None:
    task = task_of(block(norm, put), 6, 5)
    made, found = checked(task, "rotate")
    assert not found.matches
    assert any(reason in each for each in reasons(found).values())
    assert torch.equal(made.module.get_submodule("last").weight, task.module.get_submodule("last").weight)


def test_the_packed_projection_of_torchs_attention_is_matched() -> None:
    """As nn.MultiheadAttention holds it: one weight for query, key and value."""
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, norm_first=True, activation="relu")
    module = nn.Sequential(nn.Linear(8, 16), layer, nn.LayerNorm(16), nn.Linear(16, 4))
    _, found = checked(task_of(module, 6, 8), "rotate", "equalize")
    what = {match.what: match.modules for match in found.matches}
    packed = "1.self_attn.in_proj_weight"
    assert what["values in heads of 4"] == (packed, "1.self_attn.out_proj")
    assert {"0", packed, "1.linear1", "1.linear2", "3"} <= set(what["residual stream of 16 channels"])
    assert [match.modules[0] for match in found.matches if match.step == "equalize"] == [packed, "1.linear1"]


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
