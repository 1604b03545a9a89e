"""Blocks of the diffusion networks: residual convolutions, attention, transformer, resampling.

Structure and layer names follow diffusers (ResnetBlock2D, Attention, Transformer2DModel), so that an assignment also
fits the layers of a diffusers checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 32  # of all group norms in these networks


class ResnetBlock(nn.Module):
    """Two 3x3 convolutions, the time embedding added between them; a 1x1 shortcut if the width changes."""

    def __init__(self, width_in: int, width_out: int, time_width: int | None, eps: float = 1e-5) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, width_in, eps)
        self.conv1 = nn.Conv2d(width_in, width_out, 3, padding=1)
        self.time_emb_proj = None if time_width is None else nn.Linear(time_width, width_out)
        self.norm2 = nn.GroupNorm(GROUPS, width_out, eps)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, padding=1)
        self.conv_shortcut = None if width_in == width_out else nn.Conv2d(width_in, width_out, 1)

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        if self.time_emb_proj is not None and time is not None:
            h = h + self.time_emb_proj(F.silu(time))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return cast(Tensor, h + (x if self.conv_shortcut is None else self.conv_shortcut(x)))


class Attention(nn.Module):
    """Multi-head attention of [B, L, width] to itself or to a context [B, S, context_width]."""

    def __init__(self, width: int, heads: int, context_width: int | None = None, bias: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=bias)
        self.to_k = nn.Linear(context_width or width, width, bias=bias)
        self.to_v = nn.Linear(context_width or width, width, bias=bias)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        context = x if context is None else context
        q, k, v = (
            y.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for y in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return cast(Tensor, self.to_out[0](mixed))


class GatedGelu(nn.Module):
    """One projection to twice the hidden width, one half of which gates the other by GELU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 2 * hidden)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return cast(Tensor, value * F.gelu(gate))


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(GatedGelu(width, 4 * width), nn.Dropout(0.0), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.net(x))


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention to the text and feed-forward, each residual after a layer norm."""

    def __init__(self, width: int, heads: int, context_width: int) -> None:
        super().__init__()
        self.norm1, self.attn1 = nn.LayerNorm(width), Attention(width, heads)
        self.norm2, self.attn2 = nn.LayerNorm(width), Attention(width, heads, context_width)
        self.norm3, self.ff = nn.LayerNorm(width), FeedForward(width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), context)
        return cast(Tensor, x + self.ff(self.norm3(x)))


class SpatialTransformer(nn.Module):
    """Transformer blocks over the pixels of a feature map; the projections are 1x1 convolutions or linear layers."""

    def __init__(self, width: int, heads: int, context_width: int, depth: int, linear: bool) -> None:
        super().__init__()
        self.linear = linear
        self.norm = nn.GroupNorm(GROUPS, width, 1e-6)
        self.proj_in = nn.Linear(width, width) if linear else nn.Conv2d(width, width, 1)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(width, heads, context_width) for _ in range(depth)])
        self.proj_out = nn.Linear(width, width) if linear else nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        size = x.shape[-2:]
        h = self.norm(x)
        h = self.proj_in(tokens(h)) if self.linear else tokens(self.proj_in(h))
        for block in self.transformer_blocks:
            h = block(h, context)
        h = pixels(self.proj_out(h), size) if self.linear else self.proj_out(pixels(h, size))
        return x + h


class Downsample(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.conv(x))


class Upsample(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """Nearest-neighbour upsampling to `size` (height, width; default: twice as large), then a 3x3 convolution."""
        size = [2 * side for side in x.shape[-2:]] if size is None else list(size)
        return cast(Tensor, self.conv(F.interpolate(x, size=size, mode="nearest")))


def tokens(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, H W, C]."""
    return x.flatten(2).transpose(1, 2)


def pixels(x: Tensor, size: Sequence[int]) -> Tensor:
    """[B, H W, C] -> [B, C, H, W]."""
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], *size)


def sinusoids(positions: Tensor, width: int) -> Tensor:
    """[B] -> [B, width]: cosines, then sines, at `width` / 2 frequencies from 1 to 1/10000."""
    steps = torch.arange(width // 2, device=positions.device, dtype=torch.float32) / (width // 2)
    angles = positions.float()[:, None] * torch.exp(-9.210340371976184 * steps)[None, :]  # ln 10000
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
