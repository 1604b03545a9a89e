"""A Llama-style decoder: RMSNorm, rotary positions, SwiGLU, grouped-query attention, KV cache."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of the decoder. All widths are multiples of 32, the block size of most block formats."""

    vocab: int = 1024
    hidden: int = 128
    layers: int = 5
    heads: int = 4
    kv_heads: int = 2
    intermediate: int = 384
    max_positions: int = 512
    rope_theta: float = 10000.0

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads


@dataclass
class KvCache:
    """Keys and values of the previous tokens."""

    valid: Tensor  # bool [batch, tokens], False for padding on the left of a prompt
    # per layer, [batch, kv_heads, tokens, head_dim]
    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    @classmethod
    def empty(cls, config: DecoderConfig, batch: int) -> KvCache:
        nothing = torch.zeros(batch, config.kv_heads, 0, config.head_dim)
        return cls(torch.zeros(batch, 0, dtype=torch.bool), [nothing] * config.layers, [nothing] * config.layers)

    def append(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append keys and values of new tokens in `layer`; returns those of all tokens."""
        self.keys[layer] = torch.cat([self.keys[layer], key], dim=2)
        self.values[layer] = torch.cat([self.values[layer], value], dim=2)
        return self.keys[layer], self.values[layer]

    def keep(self, rows: Tensor) -> None:
        """Keep only these rows of the batch (a mask or indices)."""
        self.valid = self.valid[rows]
        self.keys = [k[rows] for k in self.keys]
        self.values = [v[rows] for v in self.values]


@dataclass(frozen=True)
class Positions:
    """Positional inputs of attention: rotation of each token, and mask of visible keys."""

    cos: Tensor  # [batch or 1, 1, tokens, head_dim]
    sin: Tensor
    mask: Tensor | None = None  # [batch, 1, tokens, keys]; None: causal
    written: Tensor | None = None  # [batch, 1, tokens, 1], False for new tokens that are padding


class RmsNorm(nn.Module):
    """Root-mean-square norm (Zhang and Sennrich, 2019) with a learned gain."""

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


def rotate(x: Tensor, at: Positions) -> Tensor:
    """Rotary position embedding (Su et al., 2021), with rotated halves as in Llama."""
    left, right = x.chunk(2, dim=-1)
    return x * at.cos + torch.cat([-right, left], dim=-1) * at.sin


class SelfAttention(nn.Module):
    """Causal attention whose `heads` queries share `kv_heads` keys and values (Ainslie et al., 2023)."""

    def __init__(self, config: DecoderConfig, index: int) -> None:
        super().__init__()
        self.index, self.head_dim = index, config.head_dim
        kv_width = config.kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden, config.hidden, bias=False)
        self.k_proj = nn.Linear(config.hidden, kv_width, bias=False)
        self.v_proj = nn.Linear(config.hidden, kv_width, bias=False)
        self.o_proj = nn.Linear(config.hidden, config.hidden, bias=False)

    def forward(self, x: Tensor, at: Positions, cache: KvCache | None) -> Tensor:
        query, key, value = (
            p(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        query, key = rotate(query, at), rotate(key, at)
        if cache is not None:
            if at.written is not None:  # padding must not widen the range of a key or value block
                key, value = key * at.written, value * at.written
            key, value = cache.append(self.index, key, value)
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=at.mask, is_causal=at.mask is None, enable_gqa=True
        )
        out: Tensor = self.o_proj(mixed.transpose(1, 2).flatten(2))
        return out


class Mlp(nn.Module):
    """SwiGLU (Shazeer, 2020)."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden, config.intermediate, bias=False)
        self.up_proj = nn.Linear(config.hidden, config.intermediate, bias=False)
        self.down_proj = nn.Linear(config.intermediate, config.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class DecoderLayer(nn.Module):
    """Attention and MLP, each residual after a norm."""

    def __init__(self, config: DecoderConfig, index: int) -> None:
        super().__init__()
        self.input_norm = RmsNorm(config.hidden)
        self.self_attn = SelfAttention(config, index)
        self.post_norm = RmsNorm(config.hidden)
        self.mlp = Mlp(config)

    def forward(self, x: Tensor, at: Positions, cache: KvCache | None) -> Tensor:
        x = x + self.self_attn(self.input_norm(x), at, cache)
        out: Tensor = x + self.mlp(self.post_norm(x))
        return out


class Decoder(nn.Module):
    """Token ids [batch, tokens] -> logits [batch, tokens, vocab].

    Without a cache, attention is causal (padding on the right). With a cache, the tokens follow those in it, and it is
    extended in place; valid: bool [batch, tokens], False for padding on the left in a first pass.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, config: DecoderConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DecoderConfig()
        self.embed_tokens = nn.Embedding(config.vocab, config.hidden)
        self.layers = nn.ModuleList(DecoderLayer(config, i) for i in range(config.layers))
        self.norm = RmsNorm(config.hidden)
        self.lm_head = nn.Linear(config.hidden, config.vocab, bias=False)
        rates = config.rope_theta ** (-torch.arange(0, config.head_dim, 2).float() / config.head_dim)
        angles = torch.arange(config.max_positions).float()[:, None] * rates
        self.register_buffer("cos", torch.cat([angles.cos(), angles.cos()], -1), persistent=False)
        self.register_buffer("sin", torch.cat([angles.sin(), angles.sin()], -1), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Normal initialisation, smaller for the two projections that write to the residual stream."""
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                narrow = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(parameter, std=0.05 / (2 * self.config.layers) ** 0.5 if narrow else 0.05)

    def forward(self, tokens: Tensor, cache: KvCache | None = None, valid: Tensor | None = None) -> Tensor:
        at = self._causal(tokens) if cache is None else self._continue(tokens, cache, valid)
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x, at, cache)
        logits: Tensor = self.lm_head(self.norm(x))
        return logits

    def _causal(self, tokens: Tensor) -> Positions:
        length = tokens.shape[1]
        return Positions(self.cos[None, None, :length], self.sin[None, None, :length])

    def _continue(self, tokens: Tensor, cache: KvCache, valid: Tensor | None) -> Positions:
        """Positions count valid tokens only, so that left padding does not change results."""
        batch, new = tokens.shape
        written = torch.ones(batch, new, dtype=torch.bool) if valid is None else valid
        before = cache.valid.shape[1]
        cache.valid = torch.cat([cache.valid, written], dim=1)
        position = (cache.valid.cumsum(1)[:, before:] - 1).clamp(min=0)
        causal = torch.ones(new, before + new, dtype=torch.bool).tril(before)
        # Padded queries see themselves, as the softmax of a row without keys is NaN.
        itself = torch.zeros(new, before + new, dtype=torch.bool)
        itself[torch.arange(new), before + torch.arange(new)] = True
        mask = (causal & cache.valid[:, None, :]) | itself
        return Positions(
            self.cos[position][:, None],
            self.sin[position][:, None],
            mask[:, None],
            None if valid is None else written[:, None, :, None],
        )
