"""Attention as two products: the same part by part, and in memory that is used again."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.workload import Product, ProductInterceptor
from codesign.workload.attention import Compute, attend, attend_in_parts
from codesign.workload.rooms import Rooms


def plain(a: Tensor, b: Tensor, compute: Compute) -> Tensor:
    return compute(a, b)


def operands(batch: int, heads: int, kv_heads: int, queries: int, keys: int) -> tuple[Tensor, Tensor, Tensor]:
    """As a projection leaves them: heads are strided."""
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(batch, queries, heads, 8, generator=generator).transpose(1, 2)
    k, v = (torch.randn(batch, keys, kv_heads, 8, generator=generator).transpose(1, 2) for _ in range(2))
    return q, k, v


MANY = 1 << 20
MASKS = {
    "none": lambda b, q, k: None,
    "bias": lambda b, q, k: torch.randn(q, k, generator=torch.Generator().manual_seed(1)),
    "boolean": lambda b, q, k: torch.ones(q, k, dtype=torch.bool).tril(k - q),
    "of each sample": lambda b, q, k: (torch.arange(k) <= torch.arange(b)[:, None] + k - b)[:, None, None, :],
    "a row of nothing": lambda b, q, k: (torch.arange(q) > 0)[:, None].expand(q, k),
}


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("most", [1, 100, 400, MANY])
def test_parts_and_rooms_change_nothing(kv_heads: int, mask: str, most: int) -> None:
    q, k, v = operands(5, 4, kv_heads, 6, 9)
    options = {"attn_mask": MASKS[mask](5, 6, 9), "enable_gqa": kv_heads != 4, "qk": plain, "pv": plain}
    whole = attend(q, k, v, **options)
    rooms = Rooms()
    for _ in range(2):  # the second time what the rooms hold is old
        found = attend_in_parts(q, k, v, most=most, rooms=rooms, **options)
        # a product of fewer matrices may take another kernel, with another order of sums
        torch.testing.assert_close(found, whole, rtol=0, atol=0 if most == MANY else 1e-6)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=options["attn_mask"], enable_gqa=kv_heads != 4)
    torch.testing.assert_close(whole, expected)


def test_causal_attention_in_parts() -> None:
    q, k, v = operands(3, 2, 2, 7, 7)
    found = attend_in_parts(q, k, v, None, 0.0, True, most=100, rooms=Rooms(), qk=plain, pv=plain)
    torch.testing.assert_close(found, F.scaled_dot_product_attention(q, k, v, is_causal=True))


class Attention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x, x)


@torch.no_grad()
def test_only_who_asks_for_parts_receives_them() -> None:
    module, x = Attention(), torch.randn(4, 8, 512, 8)
    sizes: dict[bool, list[int]] = {}
    for in_parts in (False, True):
        seen: list[int] = []

        def handler(product: Product, seen: list[int] = seen) -> None:
            seen.append(len(product.input))

        with ProductInterceptor(module, handler, decompose=True, in_parts=in_parts):
            module(x)
        sizes[in_parts] = seen
    assert sizes == {False: [4, 4], True: [1, 1] * 4}


@torch.no_grad()
def test_what_an_observer_keeps_is_not_written_over() -> None:
    module, x = Attention(), torch.randn(2, 2, 16, 8)
    kept: list[tuple[Tensor, Tensor, Tensor]] = []

    def after(product: Product, output: Tensor) -> None:
        kept.append((product.input, output, output.clone()))

    with ProductInterceptor(module, after=after, decompose=True, in_parts=True):
        module(x)
        module(2 * x)
    assert len(kept) == 4
    for _, output, copy in kept:
        assert torch.equal(output, copy)
    scores, probabilities = kept[0][1], kept[1][0]
    assert torch.equal(scores.softmax(-1), probabilities)


def test_a_room_grows_and_is_used_again() -> None:
    rooms, like = Rooms(), torch.zeros(1)
    first = rooms.take("a", (3, 4), like)
    assert first.shape == (3, 4)
    assert rooms.take("a", (2, 5), like).data_ptr() == first.data_ptr()
    assert rooms.take("b", (2, 5), like).data_ptr() != first.data_ptr()
    assert rooms.take("a", (5, 5), like).shape == (5, 5)
    assert rooms.take("a", (2,), like.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("shape", [(6, 8), (4, 6, 8), (0, 2, 6, 8), (2, 1, 6, 8)])
def test_operands_of_any_rank_and_size(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    whole = attend(x, x, x, qk=plain, pv=plain)
    assert torch.equal(attend_in_parts(x, x, x, most=10, rooms=Rooms(), qk=plain, pv=plain), whole)


def test_a_mask_of_a_wider_type_widens_the_scores() -> None:
    q, k, v = (x.bfloat16() for x in operands(2, 2, 2, 5, 5))
    mask = torch.randn(5, 5, generator=torch.Generator().manual_seed(1))

    def pv(p: Tensor, v: Tensor, compute: Compute) -> Tensor:
        assert p.dtype == torch.float32
        return compute(p, v.float())

    whole = attend(q, k, v, mask, qk=plain, pv=pv)
    assert torch.equal(attend(q, k, v, mask, rooms=Rooms(), qk=plain, pv=pv), whole)


@torch.no_grad()
def test_under_autocast_products_keep_their_types() -> None:
    module, x = Attention(), torch.randn(2, 2, 16, 8, generator=torch.Generator().manual_seed(0))
    found = []
    for in_parts in (False, True):
        handler = ProductInterceptor(module, lambda _: None, decompose=True, in_parts=in_parts)
        with torch.autocast("cpu", torch.bfloat16), handler:
            found.append(module(x))
    assert found[0].dtype == found[1].dtype
    assert torch.equal(*found)


class Inferred(nn.Module):
    """One product in inference mode, the next one outside of it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Attention(), Attention()

    def forward(self, x: Tensor) -> Tensor:
        with torch.inference_mode():
            x = self.first(x)
        found: Tensor = self.second(x.clone())
        return found


@torch.no_grad()
def test_a_room_outlives_inference_mode() -> None:
    module, x = Inferred(), torch.randn(2, 2, 16, 8, generator=torch.Generator().manual_seed(0))
    with ProductInterceptor(module, lambda _: None, decompose=True, in_parts=True):
        found = module(x)
    torch.testing.assert_close(found, module(x))
