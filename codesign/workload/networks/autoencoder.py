"""Encoder and decoder of Stable Diffusion's autoencoder: image [B, 3, H, W] -> latent [B, 8, H/8, W/8] (means and
log-variances), and latent [B, 4, H/8, W/8] -> image.

Structure: diffusers' AutoencoderKL (Rombach et al., CVPR 2022), without the two 1x1 convolutions between the
two (92 parameters).
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.workload.catalogue import AutoencoderEntry
from codesign.workload.configs import AutoencoderConfig
from codesign.workload.networks.blocks import GROUPS, Attention, Downsample, ResnetBlock, Upsample, pixels, tokens
from codesign.workload.options import LATENT_PIXELS
from codesign.workload.shapes import weightless
from codesign.workload.tracing import trace
from codesign.workload.types import Workload

_EPS = 1e-6


class PixelAttention(nn.Module):
    """Residual single-head self-attention over all pixels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(GROUPS, width, _EPS)
        self.attention = Attention(width, heads=1, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + pixels(self.attention(tokens(self.group_norm(x))), x.shape[-2:])


class Stage(nn.Module):
    """Residual blocks of one resolution, then the down- or upsampling to the next one, if any."""

    def __init__(
        self, width_in: int, width: int, layers: int, *, down: Downsample | None = None, up: Upsample | None = None
    ) -> None:
        super().__init__()
        widths = [width_in] + [width] * (layers - 1)
        self.resnets = nn.ModuleList([ResnetBlock(w, width, None, _EPS) for w in widths])
        self.downsamplers = nn.ModuleList([] if down is None else [down])
        self.upsamplers = nn.ModuleList([] if up is None else [up])

    def forward(self, x: Tensor) -> Tensor:
        for block in (*self.resnets, *self.downsamplers, *self.upsamplers):
            x = block(x)
        return x


class Encoder(nn.Module):
    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = config.widths
        self.conv_in = nn.Conv2d(config.image_channels, widths[0], 3, padding=1)
        self.down_blocks = nn.Sequential()
        for i, width in enumerate(widths):
            down = Downsample(width) if i < len(widths) - 1 else None
            self.down_blocks.append(Stage(widths[max(i - 1, 0)], width, config.layers_per_block, down=down))
        self.mid_block = _middle(widths[-1])
        self.conv_norm_out = nn.GroupNorm(GROUPS, widths[-1], _EPS)
        self.conv_out = nn.Conv2d(widths[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.mid_block(self.down_blocks(self.conv_in(image)))
        return cast(Tensor, self.conv_out(F.silu(self.conv_norm_out(x))))


class Decoder(nn.Module):
    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = config.widths[::-1]
        self.conv_in = nn.Conv2d(config.latent_channels, widths[0], 3, padding=1)
        self.mid_block = _middle(widths[0])
        self.up_blocks = nn.Sequential()
        for i, width in enumerate(widths):
            up = Upsample(width) if i < len(widths) - 1 else None
            self.up_blocks.append(Stage(widths[max(i - 1, 0)], width, config.layers_per_block + 1, up=up))
        self.conv_norm_out = nn.GroupNorm(GROUPS, widths[-1], _EPS)
        self.conv_out = nn.Conv2d(widths[-1], config.image_channels, 3, padding=1)

    def forward(self, latent: Tensor) -> Tensor:
        x = self.up_blocks(self.mid_block(self.conv_in(latent)))
        return cast(Tensor, self.conv_out(F.silu(self.conv_norm_out(x))))


def _middle(width: int) -> nn.Sequential:
    return nn.Sequential(
        ResnetBlock(width, width, None, _EPS), PixelAttention(width), ResnetBlock(width, width, None, _EPS)
    )


def autoencoder_workload(name: str, entry: AutoencoderEntry) -> Workload:
    """One pass of the encoder or decoder over `batch` images of `image` pixels."""
    config, options = entry.config, entry.options
    with weightless():
        if entry.kind == "vae-encoder":
            image = torch.empty(options.batch, config.image_channels, *options.image)
            return trace(Encoder(config), image, name=name)
        sides = (side // LATENT_PIXELS for side in options.image)
        return trace(Decoder(config), torch.empty(options.batch, config.latent_channels, *sides), name=name)
