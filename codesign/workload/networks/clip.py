"""The text encoder of Stable Diffusion 1.5: CLIP ViT-L/14's (Radford et al., ICML 2021), 77 tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.workload.networks.registry import register
from codesign.workload.tracing import trace
from codesign.workload.types import Workload


@dataclass(frozen=True)
class ClipTextConfig:
    hidden: int = 768
    intermediate: int = 3072
    layers: int = 12
    heads: int = 12
    vocabulary: int = 49408
    positions: int = 77


class ClipAttention(nn.Module):
    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (
            nn.Linear(config.hidden, config.hidden) for _ in range(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return cast(Tensor, self.out_proj(y.transpose(1, 2).flatten(2)))


class ClipMlp(nn.Module):
    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden, config.intermediate)
        self.fc2 = nn.Linear(config.intermediate, config.hidden)

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc1(x)
        return cast(Tensor, self.fc2(h * torch.sigmoid(1.702 * h)))  # CLIP's approximate GELU


class ClipLayer(nn.Module):
    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.layer_norm1, self.self_attn = nn.LayerNorm(config.hidden), ClipAttention(config)
        self.layer_norm2, self.mlp = nn.LayerNorm(config.hidden), ClipMlp(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return cast(Tensor, x + self.mlp(self.layer_norm2(x)))


class ClipText(nn.Module):
    """Tokens [B, L] -> text states [B, L, hidden]."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocabulary, config.hidden)
        self.position_embedding = nn.Embedding(config.positions, config.hidden)
        self.layers = nn.ModuleList([ClipLayer(config) for _ in range(config.layers)])
        self.final_layer_norm = nn.LayerNorm(config.hidden)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.token_embedding(tokens) + self.position_embedding.weight[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return cast(Tensor, self.final_layer_norm(x))


@register("clip-l-text")
def clip_l_text() -> Workload:
    """One prompt of 77 tokens."""
    config = ClipTextConfig()
    with torch.device("meta"):
        module, tokens = ClipText(config), torch.empty(1, config.positions, dtype=torch.long)
    return trace(module, tokens, name="clip-l-text")
