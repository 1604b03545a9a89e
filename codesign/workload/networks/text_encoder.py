"""CLIP's text encoders, as used by Stable Diffusion.

Structure: transformers' CLIPTextModel and CLIPTextModelWithProjection (Radford et al., ICML 2021). OpenCLIP
uses the exact GELU instead of the approximate one here, with the same matrix products.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.workload.catalogue import TextEncoderEntry
from codesign.workload.configs import TextEncoderConfig
from codesign.workload.shapes import weightless
from codesign.workload.tracing import trace
from codesign.workload.types import Workload


class ClipAttention(nn.Module):
    def __init__(self, config: TextEncoderConfig) -> None:
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
    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden, config.intermediate)
        self.fc2 = nn.Linear(config.intermediate, config.hidden)

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc1(x)
        return cast(Tensor, self.fc2(h * torch.sigmoid(1.702 * h)))  # CLIP's approximate GELU


class ClipLayer(nn.Module):
    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.layer_norm1, self.self_attn = nn.LayerNorm(config.hidden), ClipAttention(config)
        self.layer_norm2, self.mlp = nn.LayerNorm(config.hidden), ClipMlp(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return cast(Tensor, x + self.mlp(self.layer_norm2(x)))


class ClipText(nn.Module):
    """Tokens [B, L] -> text states [B, L, hidden], and the projected last state if there is a projection, else None."""

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocabulary, config.hidden)
        self.position_embedding = nn.Embedding(config.positions, config.hidden)
        self.layers = nn.ModuleList([ClipLayer(config) for _ in range(config.layers)])
        self.final_layer_norm = nn.LayerNorm(config.hidden)
        width = config.projection
        self.text_projection = nn.Linear(config.hidden, width, bias=False) if width else None

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        x = self.token_embedding(tokens) + self.position_embedding.weight[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x)
        states = self.final_layer_norm(x)
        return states, None if self.text_projection is None else self.text_projection(states[:, -1])


def text_workload(name: str, entry: TextEncoderEntry) -> Workload:
    """One pass over `batch` prompts."""
    with weightless():
        module = ClipText(entry.config)
        tokens = torch.empty(entry.options.batch, entry.options.prompt, dtype=torch.long)
    return trace(module, tokens, name=name)
