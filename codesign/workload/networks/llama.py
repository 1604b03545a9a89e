"""Llama decoders by name: prefill of a prompt, then decoding with a KV cache.

Structure: RMS norm, rotary positions, grouped-query attention, SwiGLU (Touvron et al., "Llama 2", 2023;
"The Llama 3 Herd of Models", 2024). Role names follow transformers' LlamaForCausalLM.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.workload.networks.registry import register
from codesign.workload.shapes import weightless
from codesign.workload.tracing import trace
from codesign.workload.types import Workload

PROMPT_TOKENS = 512
REPLY_TOKENS = 128
Cache = list[tuple[Tensor, Tensor]]  # keys and values of each layer, [B, kv_heads, T, head_width]


@dataclass(frozen=True)
class LlamaConfig:
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    tied: bool = False  # the output projection is the embedding
    rope_base: float = 10000.0

    @property
    def head_width(self) -> int:
        return self.hidden // self.heads


class LlamaAttention(nn.Module):
    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        kv_width = config.kv_heads * config.head_width
        self.head_width, self.grouped = config.head_width, config.heads != config.kv_heads
        self.q_proj = nn.Linear(config.hidden, config.hidden, bias=False)
        self.k_proj = nn.Linear(config.hidden, kv_width, bias=False)
        self.v_proj = nn.Linear(config.hidden, kv_width, bias=False)
        self.o_proj = nn.Linear(config.hidden, config.hidden, bias=False)

    def forward(self, x: Tensor, turn: Tensor, past: tuple[Tensor, Tensor] | None) -> Tensor:
        q, k, v = (
            y.unflatten(-1, (-1, self.head_width)).transpose(1, 2)
            for y in (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        )
        q, k = rotate(q, turn), rotate(k, turn)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=past is None, enable_gqa=self.grouped)
        return cast(Tensor, self.o_proj(y.transpose(1, 2).flatten(2)))


class LlamaMlp(nn.Module):
    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden, config.intermediate, bias=False)
        self.up_proj = nn.Linear(config.hidden, config.intermediate, bias=False)
        self.down_proj = nn.Linear(config.intermediate, config.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x)))


class LlamaLayer(nn.Module):
    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.input_layernorm, self.self_attn = nn.RMSNorm(config.hidden), LlamaAttention(config)
        self.post_attention_layernorm, self.mlp = nn.RMSNorm(config.hidden), LlamaMlp(config)

    def forward(self, x: Tensor, turn: Tensor, past: tuple[Tensor, Tensor] | None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), turn, past)
        return cast(Tensor, x + self.mlp(self.post_attention_layernorm(x)))


class Llama(nn.Module):
    """(tokens [B, L], cache of earlier tokens or None for a prompt) -> logits [B, L, vocabulary]."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocabulary, config.hidden)
        self.layers = nn.ModuleList([LlamaLayer(config) for _ in range(config.layers)])
        self.norm = nn.RMSNorm(config.hidden)
        self.lm_head = nn.Linear(config.hidden, config.vocabulary, bias=False)
        if config.tied:
            self.lm_head.weight = self.embed_tokens.weight

    def forward(self, tokens: Tensor, past: Cache | None = None) -> Tensor:
        x = self.embed_tokens(tokens)
        start = 0 if past is None else past[0][0].shape[2]
        turn = rotary_angles(self.config, start, tokens.shape[1], tokens.device)
        for i, layer in enumerate(self.layers):
            x = layer(x, turn, None if past is None else past[i])
        return cast(Tensor, self.lm_head(self.norm(x)))


def rotary_angles(config: LlamaConfig, start: int, count: int, device: torch.device) -> Tensor:
    """Angles [count, head_width / 2] of positions start, start + 1, ... (Su et al., RoFormer, 2021)."""
    half = config.head_width // 2
    frequencies = config.rope_base ** (torch.arange(half, device=device, dtype=torch.float32) / -half)
    return torch.arange(start, start + count, device=device, dtype=torch.float32)[:, None] * frequencies[None, :]


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Turn the pairs (i, i + half) of the last axis by the angles of their position."""
    a, b = x.chunk(2, dim=-1)
    cos, sin = turn.cos(), turn.sin()
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def llama_workload(
    name: str, config: LlamaConfig, *, prompt: int = PROMPT_TOKENS, reply: int = REPLY_TOKENS
) -> Workload:
    """One prefill of `prompt` tokens, then `reply` decode passes, each costed in the middle of the reply.

    The prefill computes the logits of every prompt token and counts causal attention in full.
    """
    context = prompt + reply // 2
    with weightless():
        module = Llama(config)
        cached = torch.empty(1, config.kv_heads, context - 1, config.head_width)
        prefill_inputs = (torch.empty(1, prompt, dtype=torch.long),)
        decode_inputs = (torch.empty(1, 1, dtype=torch.long), [(cached, cached)] * config.layers)
    prefill = trace(module, prefill_inputs, name=name, phase="prefill")
    return prefill.merged([trace(module, decode_inputs, name=name, phase="decode", repeats=reply)])


LLAMA2_7B = LlamaConfig(4096, 11008, layers=32, heads=32, kv_heads=32, vocabulary=32000)
CONFIGS = {
    "llama2-7b": LLAMA2_7B,
    "llama2-13b": replace(LLAMA2_7B, hidden=5120, intermediate=13824, layers=40, heads=40, kv_heads=40),
    "llama3.2-1b": LlamaConfig(2048, 8192, 16, heads=32, kv_heads=8, vocabulary=128256, tied=True, rope_base=5e5),
    "llama3.1-8b": LlamaConfig(4096, 14336, 32, heads=32, kv_heads=8, vocabulary=128256, rope_base=5e5),
}


def _register(name: str, config: LlamaConfig) -> None:
    register(name)(lambda: llama_workload(name, config))


for _name, _config in CONFIGS.items():
    _register(_name, _config)
