"""The decoder of Stable Diffusion 1.5's autoencoder: latent [B, 4, 64, 64] -> image [B, 3, 512, 512].

Structure: diffusers' AutoencoderKL decoder (Rombach et al., CVPR 2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.workload.networks.blocks import GROUPS, Attention, ResnetBlock, Upsample, pixels, tokens
from codesign.workload.networks.registry import register
from codesign.workload.tracing import trace
from codesign.workload.types import Workload


@dataclass(frozen=True)
class DecoderConfig:
    latent_channels: int = 4
    image_channels: int = 3
    widths: tuple[int, ...] = (128, 256, 512, 512)  # finest first, as in the encoder
    layers_per_block: int = 3


class PixelAttention(nn.Module):
    """One head of self-attention over all pixels, residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(GROUPS, width, 1e-6)
        self.attention = Attention(width, heads=1, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + pixels(self.attention(tokens(self.group_norm(x))), x.shape[-2:])


class DecoderLevel(nn.Module):
    def __init__(self, width_in: int, width: int, layers: int, upsample: bool) -> None:
        super().__init__()
        widths = [width_in] + [width] * (layers - 1)
        self.resnets = nn.ModuleList([ResnetBlock(w, width, None, 1e-6) for w in widths])
        self.upsamplers = nn.ModuleList([Upsample(width)] if upsample else [])

    def forward(self, x: Tensor) -> Tensor:
        for block in (*self.resnets, *self.upsamplers):
            x = block(x)
        return x


class Decoder(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        widths = config.widths[::-1]
        self.conv_in = nn.Conv2d(config.latent_channels, widths[0], 3, padding=1)
        self.mid_block = nn.Sequential(
            ResnetBlock(widths[0], widths[0], None, 1e-6),
            PixelAttention(widths[0]),
            ResnetBlock(widths[0], widths[0], None, 1e-6),
        )
        self.up_blocks = nn.ModuleList(
            [
                DecoderLevel(widths[max(i - 1, 0)], width, config.layers_per_block, upsample=i < len(widths) - 1)
                for i, width in enumerate(widths)
            ]
        )
        self.conv_norm_out = nn.GroupNorm(GROUPS, widths[-1], 1e-6)
        self.conv_out = nn.Conv2d(widths[-1], config.image_channels, 3, padding=1)

    def forward(self, latent: Tensor) -> Tensor:
        x = self.mid_block(self.conv_in(latent))
        for block in self.up_blocks:
            x = block(x)
        return cast(Tensor, self.conv_out(F.silu(self.conv_norm_out(x))))


@register("sd15-vae-decoder")
def sd15_vae_decoder() -> Workload:
    """One image of 512 x 512 pixels."""
    config = DecoderConfig()
    with torch.device("meta"):
        module, latent = Decoder(config), torch.empty(1, config.latent_channels, 64, 64)
    return trace(module, latent, name="sd15-vae-decoder")
