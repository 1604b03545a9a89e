"""The conditional U-Net of latent diffusion models.

Structure: diffusers' UNet2DConditionModel, after Rombach et al., "High-Resolution Image Synthesis with
Latent Diffusion Models", CVPR 2022, and Podell et al., "SDXL", 2023.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.workload.catalogue import UNetEntry
from codesign.workload.configs import UNetConfig
from codesign.workload.networks.blocks import (
    GROUPS,
    Downsample,
    ResnetBlock,
    SpatialTransformer,
    Upsample,
    sinusoids,
)
from codesign.workload.options import LATENT_PIXELS
from codesign.workload.shapes import weightless
from codesign.workload.tracing import trace
from codesign.workload.types import Workload

TEXT_TOKENS = 77  # context length of CLIP's text encoders


class TimestepEmbedding(nn.Module):
    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(width_in, width)
        self.linear_2 = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.linear_2(F.silu(self.linear_1(x))))


class Level(nn.Module):
    """One resolution of the encoder or decoder: residual blocks, each followed by attention if the depth is not 0."""

    def __init__(
        self,
        config: UNetConfig,
        level: int,
        widths_in: list[int],
        *,
        down: Downsample | None = None,
        up: Upsample | None = None,
    ) -> None:
        super().__init__()
        width, depth = config.widths[level], config.depths[level]
        self.resnets = nn.ModuleList([ResnetBlock(w, width, _time_width(config)) for w in widths_in])
        self.attentions = nn.ModuleList([_transformer(config, level, depth) for _ in widths_in if depth])
        self.downsamplers = None if down is None else nn.ModuleList([down])
        self.upsamplers = None if up is None else nn.ModuleList([up])

    def steps(self) -> Iterator[tuple[nn.Module, nn.Module | None]]:
        """The residual blocks in order, each with the attention that follows it, or None."""
        for i, resnet in enumerate(self.resnets):
            yield resnet, self.attentions[i] if len(self.attentions) else None

    def smaller(self, x: Tensor) -> Tensor | None:
        """`x` downsampled to half the resolution; None at the coarsest level."""
        return cast(Tensor, self.downsamplers[0](x)) if self.downsamplers is not None else None

    def larger(self, x: Tensor, size: torch.Size) -> Tensor:
        """`x` upsampled to the `size` of the next level, which need not be even; unchanged at the finest level."""
        return x if self.upsamplers is None else cast(Tensor, self.upsamplers[0](x, size))


class Middle(nn.Module):
    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        width = config.widths[-1]
        self.resnets = nn.ModuleList([ResnetBlock(width, width, _time_width(config)) for _ in range(2)])
        self.attentions = nn.ModuleList([_transformer(config, len(config.widths) - 1, config.mid_depth)])

    def forward(self, x: Tensor, time: Tensor, text: Tensor) -> Tensor:
        x = self.attentions[0](self.resnets[0](x, time), text)
        return cast(Tensor, self.resnets[1](x, time))


class UNet(nn.Module):
    """(latent [B, C, H, W], timestep [B], text [B, T, text_width]) -> [B, C_out, H, W]."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        widths, last = config.widths, len(config.widths) - 1
        self.config = config
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.time_embedding = TimestepEmbedding(widths[0], _time_width(config))
        self.add_embedding = TimestepEmbedding(config.added_width, _time_width(config)) if config.added_width else None
        self.down_blocks, skips = nn.ModuleList(), [widths[0]]
        for level, width in enumerate(widths):
            before = [widths[max(level - 1, 0)]] + [width] * (config.layers_per_block - 1)
            self.down_blocks.append(Level(config, level, before, down=Downsample(width) if level < last else None))
            skips += [width] * (config.layers_per_block + (level < last))
        self.mid_block = Middle(config)
        self.up_blocks, below = nn.ModuleList(), widths[-1]
        for level in reversed(range(len(widths))):
            width = widths[level]
            before = [w + skips.pop() for w in [below] + [width] * config.layers_per_block]
            self.up_blocks.append(Level(config, level, before, up=Upsample(width) if level else None))
            below = width
        self.conv_norm_out = nn.GroupNorm(GROUPS, widths[0])
        self.conv_out = nn.Conv2d(widths[0], config.out_channels, 3, padding=1)

    def forward(self, latent: Tensor, timestep: Tensor, text: Tensor, added: Tensor | None = None) -> Tensor:
        time = self.time_embedding(sinusoids(timestep, self.config.widths[0]))
        if self.add_embedding is not None and added is not None:
            time = time + self.add_embedding(added)
        x = self.conv_in(latent)
        skips = [x]
        for block in cast("list[Level]", self.down_blocks):
            for resnet, attention in block.steps():
                x = resnet(x, time)
                x = x if attention is None else attention(x, text)
                skips.append(x)
            smaller = block.smaller(x)
            if smaller is not None:
                skips.append(x := smaller)
        x = self.mid_block(x, time, text)
        for block in cast("list[Level]", self.up_blocks):
            for resnet, attention in block.steps():
                x = resnet(torch.cat([x, skips.pop()], dim=1), time)
                x = x if attention is None else attention(x, text)
            x = block.larger(x, skips[-1].shape[-2:] if skips else x.shape[-2:])
        return cast(Tensor, self.conv_out(F.silu(self.conv_norm_out(x))))


def unet_workload(name: str, entry: UNetEntry) -> Workload:
    """The denoising passes of one result; guidance doubles the batch, as in diffusers."""
    config, options = entry.config, entry.options
    with weightless():
        module = UNet(config)
        inputs = {
            "latent": torch.empty(
                options.prompts, config.in_channels, *(side // LATENT_PIXELS for side in options.image)
            ),
            "timestep": torch.empty(options.prompts),
            "text": torch.empty(options.prompts, TEXT_TOKENS, config.text_width),
        }
        if config.added_width:
            inputs["added"] = torch.empty(options.prompts, config.added_width)
    return trace(module, inputs, name=name, phase="denoise", repeats=options.steps)


def _time_width(config: UNetConfig) -> int:
    return 4 * config.widths[0]


def _transformer(config: UNetConfig, level: int, depth: int) -> SpatialTransformer:
    width, heads = config.widths[level], config.heads[level]
    return SpatialTransformer(width, heads, config.text_width, depth, config.linear_projection)
