"""What the interceptor shows to its handler, and what the handler can change."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.workload import Product, ProductInterceptor, trace
from tests.workload.networks import SelfAttention, SmallNet


def doubled_inputs(product: Product) -> tuple[Tensor, Tensor]:
    return product.input * 2, product.stationary


def hooks(module: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


@pytest.mark.parametrize(
    ("module", "x"),
    [
        (nn.Linear(4, 3, bias=False), torch.randn(2, 4)),
        (nn.Conv2d(4, 3, 3, bias=False), torch.randn(1, 4, 5, 5)),
        (nn.ConvTranspose2d(4, 3, 3, bias=False), torch.randn(1, 4, 5, 5)),
    ],
)
def test_replaced_inputs_reach_the_product(module: nn.Module, x: Tensor) -> None:
    with ProductInterceptor(module, doubled_inputs):
        doubled = module(x)
    torch.testing.assert_close(doubled, 2 * module(x))


def test_a_handler_may_give_the_result_itself() -> None:
    module, seen = nn.Linear(4, 3), list[Tensor]()
    given = torch.randn(2, 3)
    with ProductInterceptor(module, lambda product: given, after=lambda product, result: seen.append(result)):
        assert torch.equal(module(torch.randn(2, 4)), given)
    assert torch.equal(seen[0], given)


def test_a_replaced_weight_reaches_the_product_and_leaves_the_parameter() -> None:
    module, x = SmallNet().eval(), torch.randn(2, 3, 8, 8)
    weight = module.head.weight.detach().clone()

    def zeroed(product: Product) -> tuple[Tensor, Tensor] | None:
        return (product.input, torch.zeros_like(product.stationary)) if product.layer == "head" else None

    with ProductInterceptor(module, zeroed):
        output = module(x)
    torch.testing.assert_close(output, module.head.bias.expand(2, 5))
    assert torch.equal(module.head.weight, weight)


@pytest.mark.parametrize("style", ["matmul", "bmm", "baddbmm", "einsum", "einsum-ellipsis"])
def test_replaced_values_reach_every_way_to_write_attention(style: str) -> None:
    module, x = SelfAttention(style), torch.randn(2, 5, 16)

    def doubled(product: Product) -> tuple[Tensor, Tensor] | None:
        return (product.input, product.stationary * 2) if product.kind == "attention_pv" else None

    with ProductInterceptor(module, doubled):
        output = module(x)
    torch.testing.assert_close(output, 2 * module(x))


def test_replaced_operands_reach_a_fused_attention() -> None:
    module, x = SelfAttention("fused"), torch.randn(2, 5, 16)

    def changed(product: Product) -> tuple[Tensor, Tensor] | None:
        if product.kind == "attention_qk":
            return torch.zeros_like(product.input), product.stationary  # every key weighs the same
        return (product.input, product.stationary * 3) if product.kind == "attention_pv" else None

    with ProductInterceptor(module, changed):
        output = module(x)
    torch.testing.assert_close(output, 3 * module.to_v(x).mean(1, keepdim=True).expand(2, 5, 16))


@pytest.mark.parametrize("style", ["fused", "matmul", "bmm", "baddbmm", "einsum", "einsum-ellipsis"])
def test_a_handler_that_changes_nothing_changes_nothing(style: str) -> None:
    module, x = SmallNet(style).eval(), torch.randn(2, 3, 8, 8)
    expected = module(x)
    for handler in (None, lambda p: None, lambda p: (p.input, p.stationary)):
        with ProductInterceptor(module, handler):
            assert torch.equal(module(x), expected)


@pytest.mark.parametrize("style", ["fused", "matmul", "bmm", "baddbmm", "einsum", "einsum-ellipsis"])
def test_both_axes_are_the_contraction(style: str) -> None:
    lengths: list[tuple[int, int]] = []

    def see(product: Product) -> None:
        lengths.append((product.input.shape[product.input_axis], product.stationary.shape[product.stationary_axis]))

    module = SmallNet(style)
    with ProductInterceptor(module, see, decompose=True):
        module(torch.randn(1, 3, 6, 8))
    # conv_in, depthwise (its weight holds one channel in of 16), to_q, to_k, to_v, q k, p v (12 pixels), head
    assert lengths == [(3, 3), (16, 1), (16, 16), (16, 16), (16, 16), (4, 4), (12, 12), (16, 16)]


MASKS: dict[str, Callable[[], dict[str, object]]] = {
    "no mask": dict,
    "causal": lambda: {"is_causal": True},
    "boolean mask": lambda: {"attn_mask": torch.rand(2, 1, 6, 9) > 0.3},
    "a row that sees nothing": lambda: {"attn_mask": torch.arange(6)[:, None].expand(6, 9) > 0},
    "additive mask": lambda: {"attn_mask": torch.randn(6, 9)},
    "own scale": lambda: {"scale": 0.7},
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("grouped", [False, True])
def test_decomposed_attention_equals_the_fused_one(mask: str, grouped: bool) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 8, 6, 4), torch.randn(2, 8, 9, 4), torch.randn(2, 8, 9, 5)
    if grouped:
        k, v = k[:, :2], v[:, :2]
    options = MASKS[mask]()

    class Attend(nn.Module):
        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(q, k, v, enable_gqa=grouped, **options)

    module = Attend()
    with ProductInterceptor(module, decompose=True):
        decomposed = module(q, k, v)
    torch.testing.assert_close(decomposed, module(q, k, v), rtol=1e-5, atol=2e-6)


def test_decomposition_shows_the_probabilities_of_the_chosen_layers() -> None:
    module = nn.Sequential(SelfAttention(), SelfAttention())
    seen: dict[str, Tensor] = {}

    def see(product: Product) -> None:
        if product.kind == "attention_pv":
            seen[product.layer] = product.input

    with ProductInterceptor(module, see, decompose=lambda layer: layer == "1"):
        module(torch.randn(2, 5, 16))
    assert seen["0"].is_meta
    torch.testing.assert_close(seen["1"].sum(-1), torch.ones(2, 4, 5))


def test_the_names_are_those_of_the_trace() -> None:
    module, x = SmallNet("fused"), torch.randn(1, 3, 8, 8)
    names: list[str] = []
    with ProductInterceptor(module, lambda p: names.append(p.layer)):
        module(x)
    assert tuple(dict.fromkeys(names)) == trace(module, x).layers


def test_after_sees_every_product_with_its_output() -> None:
    module, x = SmallNet("fused").eval(), torch.randn(2, 3, 8, 8)
    outputs: dict[str, Tensor] = {}
    with ProductInterceptor(module, after=lambda p, y: outputs.update({f"{p.layer} {p.kind}": y})):
        result = module(x)
    assert outputs["head linear"] is result
    assert outputs["attn attention_pv"].shape == (2, 4, 16, 4)


def test_gradients_flow_through_replaced_operands() -> None:
    module = nn.Linear(3, 2, bias=False)
    x = torch.randn(4, 3)
    with ProductInterceptor(module, doubled_inputs):
        module(x).sum().backward()
    torch.testing.assert_close(module.weight.grad, 2 * x.sum(0).expand(2, 3))


def test_hooks_are_gone_after_exit_even_after_an_error() -> None:
    module = SmallNet()

    def fail(product: Product) -> None:
        raise RuntimeError(product.layer)

    interceptor = ProductInterceptor(module, fail)
    with interceptor:
        assert hooks(module) > 0
        with pytest.raises(RuntimeError, match="conv_in"):
            module(torch.randn(1, 3, 8, 8))
    assert hooks(module) == 0
    with contextlib.suppress(RuntimeError), interceptor:
        module(torch.randn(1, 3, 8, 8))
    assert hooks(module) == 0


def test_entering_twice_shows_each_product_once() -> None:
    module, seen = nn.Linear(3, 2), []
    interceptor = ProductInterceptor(module, lambda p: seen.append(p.layer))
    with interceptor, interceptor:
        module(torch.randn(1, 3))
    assert (seen, hooks(module)) == (["root"], 0)
    with interceptor:
        module(torch.randn(1, 3))
    assert seen == ["root", "root"]


def test_another_network_is_left_alone() -> None:
    module, other, seen = nn.Linear(3, 2), SmallNet(), []
    with ProductInterceptor(module, lambda p: seen.append(p.layer), strict=True):
        other(torch.randn(1, 3, 8, 8))
        torch.randn(2, 3) @ torch.randn(3, 2)
    assert seen == []


def test_a_caught_error_in_a_child_does_not_shift_the_names() -> None:
    class Careful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.child = SelfAttention()

        def forward(self, x: Tensor) -> Tensor:
            with contextlib.suppress(RuntimeError):
                self.child(x[..., :3])
            return F.scaled_dot_product_attention(x, x, x)

    assert trace(Careful(), torch.randn(1, 5, 16), unseen="warn").layer_kinds()["root"] == "attention"


def test_stand_ins_of_a_functional_call_keep_their_names() -> None:
    module, names = SmallNet("fused"), []
    state = {name: tensor.detach() * 1.0 for name, tensor in module.named_parameters()}
    with ProductInterceptor(module, lambda p: names.append(p.layer), names=state):
        torch.func.functional_call(module, state, torch.randn(2, 3, 8, 8))
    assert names == ["conv_in", "depthwise", "attn.to_q", "attn.to_k", "attn.to_v", "attn", "attn", "head"]
