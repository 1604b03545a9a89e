"""Decoder-only language models: prefill of a prompt, then decoding with a KV cache.

Structure: RMS norms, rotary position embedding, grouped-query attention and a gated feed-forward network (Touvron et
al., "Llama 2", 2023); the configuration describes how Qwen2.5, Gemma 2, Mixtral and OLMoE differ. Layer names follow
transformers' LlamaForCausalLM. Gemma's soft-capping, which is elementwise, is omitted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.workload.catalogue import LanguageModelEntry
from codesign.workload.configs import LanguageModelConfig
from codesign.workload.networks.experts import MixtureMlp, with_idle_experts
from codesign.workload.shapes import weightless
from codesign.workload.tracing import trace
from codesign.workload.types import Workload

Cache = list[tuple[Tensor, Tensor]]  # keys and values of each layer, [B, kv_heads, T, head_width]


class SelfAttention(nn.Module):
    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        width, kv_width = config.heads * config.head_width, config.kv_heads * config.head_width
        self.head_width, self.grouped = config.head_width, config.heads != config.kv_heads
        self.q_proj = nn.Linear(config.hidden, width, bias=config.qkv_bias)
        self.k_proj = nn.Linear(config.hidden, kv_width, bias=config.qkv_bias)
        self.v_proj = nn.Linear(config.hidden, kv_width, bias=config.qkv_bias)
        self.o_proj = nn.Linear(width, config.hidden, bias=False)
        self.q_norm = nn.RMSNorm(width) if config.qk_norm else nn.Identity()
        self.k_norm = nn.RMSNorm(kv_width) if config.qk_norm else nn.Identity()

    def forward(self, x: Tensor, turn: Tensor, past: tuple[Tensor, Tensor] | None) -> Tensor:
        q, k, v = (
            y.unflatten(-1, (-1, self.head_width)).transpose(1, 2)
            for y in (self.q_norm(self.q_proj(x)), self.k_norm(self.k_proj(x)), self.v_proj(x))
        )
        q, k = rotate(q, turn), rotate(k, turn)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=past is None, enable_gqa=self.grouped)
        return cast(Tensor, self.o_proj(y.transpose(1, 2).flatten(2)))


class GatedMlp(nn.Module):
    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.activation = F.silu if config.activation == "silu" else F.gelu
        self.gate_proj = nn.Linear(config.hidden, config.intermediate, bias=False)
        self.up_proj = nn.Linear(config.hidden, config.intermediate, bias=False)
        self.down_proj = nn.Linear(config.intermediate, config.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.down_proj(self.activation(self.gate_proj(x)) * self.up_proj(x)))


class Layer(nn.Module):
    """Attention, then feed-forward, each residual after a norm."""

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.input_layernorm, self.self_attn = nn.RMSNorm(config.hidden), SelfAttention(config)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden)
        self.mlp = MixtureMlp(config) if config.experts else GatedMlp(config)

    def forward(self, x: Tensor, turn: Tensor, past: tuple[Tensor, Tensor] | None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), turn, past)
        return cast(Tensor, x + self.mlp(self.post_attention_layernorm(x)))


class PostNormLayer(Layer):
    """As in Gemma 2, with further norms after attention and feed-forward."""

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__(config)
        self.pre_feedforward_layernorm = nn.RMSNorm(config.hidden)
        self.post_feedforward_layernorm = nn.RMSNorm(config.hidden)

    def forward(self, x: Tensor, turn: Tensor, past: tuple[Tensor, Tensor] | None) -> Tensor:
        x = x + self.post_attention_layernorm(self.self_attn(self.input_layernorm(x), turn, past))
        return cast(Tensor, x + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x))))


class LanguageModel(nn.Module):
    """(tokens [B, L], cache of earlier tokens or None) -> logits [B, L, vocabulary]."""

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocabulary, config.hidden)
        layer = PostNormLayer if config.post_norms else Layer
        self.layers = nn.ModuleList([layer(config) for _ in range(config.layers)])
        self.norm = nn.RMSNorm(config.hidden)
        self.lm_head = nn.Linear(config.hidden, config.vocabulary, bias=False)
        if config.tied:
            self.lm_head.weight = self.embed_tokens.weight

    def forward(self, tokens: Tensor, past: Cache | None = None) -> Tensor:
        x = self.embed_tokens(tokens)
        start = 0 if past is None else max(keys.shape[2] for keys, _ in past)
        turn = rotary_angles(self.config, start, tokens.shape[1], tokens.device)
        for i, layer in enumerate(self.layers):
            x = layer(x, turn, None if past is None else past[i])
        return cast(Tensor, self.lm_head(self.norm(x)))


def rotary_angles(config: LanguageModelConfig, start: int, count: int, device: torch.device) -> Tensor:
    """Angles [count, head_width / 2] of positions start, start + 1, ... (Su et al., RoFormer, 2021)."""
    half = config.head_width // 2
    frequencies = config.rope_base ** (torch.arange(half, device=device, dtype=torch.float32) / -half)
    positions = torch.arange(start, start + count, device=device, dtype=torch.float32)
    return positions[:, None] * frequencies[None, :]


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Rotate the pairs (i, i + half) of the last axis by the angles of their position (rotary embedding)."""
    a, b = x.chunk(2, dim=-1)
    cos, sin = turn.cos(), turn.sin()
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def language_workload(name: str, entry: LanguageModelEntry) -> Workload:
    """One prefill, then `new_tokens` decode passes, each costed as the one in the middle of the reply.

    The prefill computes the logits of every prompt token and counts causal attention in full, even in layers with a
    sliding window that is shorter. In those layers a decode pass reads the window only.
    """
    config, options = entry.config, entry.options
    with weightless():
        module = LanguageModel(config)
        prompt = torch.empty(options.batch, options.prompt, dtype=torch.long)
        prefill_inputs = (prompt, _cache(config, options.batch, options.history) if options.history else None)
        decode_inputs = (prompt[:, :1], _cache(config, options.batch, options.attended - 1))
    prefill = trace(module, prefill_inputs, name=name, phase="prefill")
    decode = trace(module, decode_inputs, name=name, phase="decode", repeats=options.new_tokens)
    merged = prefill.merged([decode])
    return replace(merged, operators=with_idle_experts(merged.operators, module))


def _cache(config: LanguageModelConfig, batch: int, tokens: int) -> Cache:
    """The KV cache after `tokens` tokens; a sliding-window layer keeps its window, minus one for the next token."""
    kept = [min(tokens, config.window - 1) if config.is_local(i) else tokens for i in range(config.layers)]
    caches = {n: torch.empty(batch, config.kv_heads, n, config.head_width) for n in set(kept)}
    return [(caches[n], caches[n]) for n in kept]
