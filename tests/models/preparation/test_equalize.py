"""Channels are scaled between layers, so that no layer has both large and small ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.models.preparation.equalize import input_magnitudes
from tests.models.preparation.networks import Apply, checked, modules, reasons, task_of


def chain() -> nn.Module:
    def put(m: Any, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(m.a(x)), 2)
        x = F.leaky_relu(m.b(F.pad(x, (1, 1, 1, 1))))
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        x = F.dropout(F.relu(m.c(x)), 0.5, m.training)
        return m.d(x.mean((2, 3)))

    return Apply(
        put,
        a=nn.Conv2d(3, 8, 3),
        b=nn.Conv2d(8, 8, 3, groups=8),
        c=nn.ConvTranspose2d(8, 6, 2, groups=2),
        d=nn.Linear(6, 4),
    )


def test_a_chain_of_layers_has_equal_ranges_on_both_sides() -> None:
    made, found = checked(task_of(chain(), 3, 12, 12), "equalize")
    assert modules(found.matches) == [("a", "b"), ("b", "c"), ("c", "d")]
    before = made.module.get_submodule("a").weight.abs().amax((1, 2, 3))
    after = made.module.get_submodule("b").weight.abs().amax((1, 2, 3))  # depthwise: rows are input channels, too
    torch.testing.assert_close(before, after, rtol=0.01, atol=0)
    rows = made.module.get_submodule("c").weight.view(2, 4, 3, 2, 2).abs().amax((1, 3, 4)).flatten()  # in two groups
    torch.testing.assert_close(rows, made.module.get_submodule("d").weight.abs().amax(0), rtol=0.01, atol=0)


def test_the_gate_of_a_gated_unit_stays_and_its_other_half_is_scaled() -> None:
    """As GEGLU in diffusers: one layer makes both halves."""

    def put(m: Any, x: Tensor) -> Tensor:
        up, gate = m.proj(x).chunk(2, dim=-1)
        return m.down(up * F.gelu(gate))

    task = task_of(Apply(put, proj=nn.Linear(8, 24), down=nn.Linear(12, 8)), 5, 8)
    made, found = checked(task, "equalize")
    assert modules(found.matches) == [("proj", "down")]
    old, new = (each.module.get_submodule("proj").weight for each in (task, made))
    assert torch.equal(old[12:], new[12:])
    torch.testing.assert_close(new[:12].abs().amax(1), made.module.get_submodule("down").weight.abs().amax(0))


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "two products"])
def test_heads_that_share_a_value_share_its_scale(fused: bool) -> None:
    def put(m: Any, x: Tensor) -> Tensor:
        q = m.q(x).unflatten(-1, (4, 6)).transpose(1, 2)
        k, v = (p(x).unflatten(-1, (2, 6)).transpose(1, 2) for p in (m.k, m.v))
        if fused:
            mixed = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        else:
            k, v = (y[:, :, None].expand(-1, 2, 2, -1, -1).reshape(len(y), 4, -1, 6) for y in (k, v))
            mixed = torch.softmax(q @ k.transpose(-1, -2), -1) @ v
        return m.o(mixed.transpose(1, 2).flatten(2))

    parts = {"q": nn.Linear(8, 24), "k": nn.Linear(8, 12), "v": nn.Linear(8, 12), "o": nn.Linear(24, 8)}
    made, found = checked(task_of(Apply(put, **parts), 5, 8), "equalize")
    assert modules(found.matches) == [("v", "o")]
    read = made.module.get_submodule("o").weight.abs().amax(0).view(2, 2, 6).amax(1).flatten()
    torch.testing.assert_close(made.module.get_submodule("v").weight.abs().amax(1), read)


@pytest.mark.parametrize(
    ("between", "reason"),
    [
        (F.silu, "'silu'"),
        (lambda x: x + 1, "'add'"),
        (lambda x: x * x, "'mul'"),
        (F.relu6, "'relu6'"),
        (lambda x: x.softmax(-1), "'softmax'"),
        (lambda x: F.pad(x, (0, 0, 1, 1), value=1.0), "'pad'"),
        (lambda x: x.reshape(-1, 8, 5).transpose(1, 2), "reads its channels mixed"),
        (lambda x: x[0:1].sum(-1, keepdim=True) * x, "'sum'"),
    ],
)
def test_what_does_not_scale_channel_by_channel_stands_between(between: Any, reason: str) -> None:
    parts = {"a": nn.Linear(8, 8), "b": nn.Linear(8, 4)}
    _, found = checked(task_of(Apply(lambda m, x: m.b(between(m.a(x))), **parts), 5, 8), "equalize")
    assert not found.matches
    assert reason in reasons(found)["a"]


def test_a_layer_that_runs_twice_is_scaled_only_if_both_runs_agree() -> None:
    def twice(m: Any, x: Tensor) -> Tensor:
        return m.b(F.relu(m.a(x))) + m.b(F.relu(m.a(x.flip(1))))

    parts = {"a": nn.Linear(8, 8), "b": nn.Linear(8, 4)}
    assert modules(checked(task_of(Apply(twice, **parts), 5, 8), "equalize")[1].matches) == [("a", "b")]

    def otherwise(m: Any, x: Tensor) -> Tensor:
        return m.b(F.relu(m.a(x))) + m.b(x)

    assert not checked(task_of(Apply(otherwise, **parts), 5, 8), "equalize")[1].matches


def test_smoothing_gives_weights_and_activations_the_same_range() -> None:
    """With alpha = 1/2, max|X_c| / s_c and max|W_c| s_c are both the root of the product (SmoothQuant, equation 4)."""

    def put(m: Any, x: Tensor) -> Tensor:
        return m.c(F.relu(m.b(m.norm(x))))

    parts = {"norm": nn.LayerNorm(8), "b": nn.Linear(8, 8), "c": nn.Linear(8, 4)}
    made, found = checked(task_of(Apply(put, **parts), 5, 8), "smooth")
    assert modules(found.matches) == [("b", "c"), ("norm", "b")]
    for layer, activations in input_magnitudes(made, made.module).items():
        weights = made.module.get_submodule(layer).weight.abs().amax(0).double()
        alive = activations > 0
        assert int(alive.sum()) > 4
        torch.testing.assert_close(activations[alive], weights[alive], rtol=1e-3, atol=0)
