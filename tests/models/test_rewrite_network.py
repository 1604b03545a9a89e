"""The decoder: shapes, size, causality, and decoding with a cache."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from codesign.models.rewrite.dataset import load_data
from codesign.models.rewrite.generate import generate, texts
from codesign.models.rewrite.network import Decoder, DecoderConfig, KvCache
from codesign.models.rewrite.task import load_network
from codesign.models.rewrite.tokens import END_ID, load_tokenizer


@pytest.fixture(scope="module")
def network() -> Decoder:
    torch.manual_seed(3)
    return Decoder(DecoderConfig(layers=2)).eval()


def tokens(batch: int, length: int, seed: int = 0) -> Tensor:
    return torch.randint(7, 1024, (batch, length), generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def test_logits_have_one_row_per_token_and_one_column_per_entry_of_the_vocabulary(network: Decoder) -> None:
    assert network(tokens(3, 9)).shape == (3, 9, 1024)


def test_the_shipped_network_has_between_one_and_two_million_parameters_and_forty_layers_to_choose_formats_for() -> (
    None
):
    network = load_network()
    linears = [m for m in network.modules() if isinstance(m, nn.Linear)]
    assert 1_000_000 <= sum(p.numel() for p in network.parameters()) <= 2_000_000
    assert len(linears) + network.config.layers >= 40
    assert all(m.bias is None and m.in_features % 32 == 0 and m.out_features % 32 == 0 for m in linears)


@torch.inference_mode()
def test_a_later_token_changes_no_earlier_prediction(network: Decoder) -> None:
    first = tokens(2, 12)
    second = first.clone()
    second[:, 8:] = tokens(2, 4, seed=1)
    a, b = network(first), network(second)
    assert torch.allclose(a[:, :8], b[:, :8], atol=1e-5)
    assert not torch.allclose(a[:, 8:], b[:, 8:], atol=1e-3)


@torch.inference_mode()
def test_decoding_token_by_token_with_a_cache_equals_the_full_pass(network: Decoder) -> None:
    ids = tokens(3, 20)
    cache = KvCache.empty(network.config, 3)
    steps = [network(ids[:, :7], cache), *(network(ids[:, i : i + 1], cache) for i in range(7, 20))]
    assert torch.allclose(torch.cat(steps, dim=1), network(ids), atol=1e-5)


@torch.inference_mode()
def test_padding_on_the_left_changes_no_prediction(network: Decoder) -> None:
    ids = tokens(1, 10)
    padded = torch.cat([torch.full((1, 6), END_ID), ids], dim=1)
    valid = torch.arange(16)[None] >= 6
    cache = KvCache.empty(network.config, 1)
    logits = network(padded, cache, valid)
    assert torch.allclose(logits[:, 6:], network(ids), atol=1e-5)
    more = tokens(1, 1, seed=2)
    assert torch.allclose(network(more, cache), network(torch.cat([ids, more], 1))[:, -1:], atol=1e-5)


@torch.inference_mode()
def test_padding_leaves_zeros_in_the_cache_so_that_it_widens_no_range(network: Decoder) -> None:
    cache = KvCache.empty(network.config, 1)
    network(tokens(1, 8), cache, torch.arange(8)[None] >= 3)
    assert not cache.keys[1][:, :, :3].any()
    assert not cache.values[1][:, :, :3].any()
    assert cache.values[1][:, :, 3:].all()


@torch.inference_mode()
def test_queries_share_keys_and_values_as_if_these_were_repeated(network: Decoder) -> None:
    attention = network.layers[0].self_attn
    x = torch.randn(1, 6, 128, generator=torch.Generator().manual_seed(0))
    wide = Decoder(DecoderConfig(layers=1, kv_heads=4)).layers[0].self_attn
    for name in ("q_proj", "o_proj"):
        getattr(wide, name).weight.copy_(getattr(attention, name).weight)
    for name in ("k_proj", "v_proj"):
        heads = getattr(attention, name).weight.unflatten(0, (2, 32))
        getattr(wide, name).weight.copy_(heads.repeat_interleave(2, dim=0).flatten(0, 1))
    at = network._causal(torch.zeros(1, 6, dtype=torch.int64))
    assert torch.allclose(attention(x, at, None), wide(x, at, None), atol=1e-5)


@torch.inference_mode()
def test_a_batch_of_prompts_is_answered_as_each_alone() -> None:
    network = load_network()
    prompts = load_data().rewrites.prompts()[:6]
    together = texts(generate(network, network.config, prompts))
    assert together == [texts(generate(network, network.config, [p]))[0] for p in prompts]


@torch.inference_mode()
def test_greedy_answers_equal_those_without_a_cache() -> None:
    network = load_network()
    prompt = load_data().rewrites.prompts()[0]
    ids = list(prompt)
    for _ in range(64):
        ids.append(int(network(torch.tensor([ids]))[0, -1].argmax()))
        if ids[-1] == END_ID:
            break
    assert texts(generate(network, network.config, [prompt])) == [load_tokenizer().decode(ids[len(prompt) : -1])]
