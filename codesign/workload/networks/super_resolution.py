"""Super-resolution networks: image [B, 3, H, W] -> [B, 3, scale H, scale W].

EDSR: Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPR workshops 2017.
IMDN: Hui et al., "Lightweight Image Super-Resolution with Information Multi-distillation Network", ACM MM 2019.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.workload.catalogue import SuperResolutionEntry
from codesign.workload.configs import SuperResolutionConfig
from codesign.workload.shapes import weightless
from codesign.workload.tracing import trace
from codesign.workload.types import Workload


def conv(width_in: int, width_out: int, taps: int = 3) -> nn.Conv2d:
    """A convolution with a square kernel that keeps the image size."""
    return nn.Conv2d(width_in, width_out, taps, padding=taps // 2)


class ResidualBlock(nn.Module):
    """Two residual convolutions without normalisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv(width, width), conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + cast(Tensor, self.conv2(F.relu(self.conv1(x))))


class Edsr(nn.Module):
    """Residual blocks at the input resolution, then upsampling steps that double it by pixel shuffle."""

    def __init__(self, config: SuperResolutionConfig) -> None:
        super().__init__()
        width, steps = config.features, config.scale.bit_length() - 1
        self.head = conv(3, width)
        self.blocks = nn.Sequential(*(ResidualBlock(width) for _ in range(config.blocks)))
        self.body_out = conv(width, width)
        self.upsamplers = nn.ModuleList([conv(width, 4 * width) for _ in range(steps)])
        self.tail = conv(width, 3)

    def forward(self, image: Tensor) -> Tensor:
        x = self.head(image)
        x = x + self.body_out(self.blocks(x))
        for upsampler in self.upsamplers:
            x = F.pixel_shuffle(upsampler(x), 2)
        return cast(Tensor, self.tail(x))


class ContrastAttention(nn.Module):
    """Contrast-aware channel attention: scales each channel by a function of its mean and standard deviation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.squeeze, self.expand = conv(width, width // 16, 1), conv(width // 16, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        contrast = mean + ((x - mean) ** 2).mean((2, 3), keepdim=True) ** 0.5
        return x * torch.sigmoid(self.expand(F.relu(self.squeeze(contrast))))


class DistillationBlock(nn.Module):
    """Splits off a quarter of the channels three times and refines the rest; then fuses all kept channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.kept = width // 4
        rest = width - self.kept
        self.refine = nn.ModuleList([conv(width, width), conv(rest, width), conv(rest, width)])
        self.last = conv(rest, self.kept)
        self.attention = ContrastAttention(4 * self.kept)
        self.fuse = conv(4 * self.kept, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept, rest = [], x
        for refine in self.refine:
            y = F.leaky_relu(refine(rest), 0.05)
            kept.append(y[:, : self.kept])
            rest = y[:, self.kept :]
        kept.append(self.last(rest))
        return x + cast(Tensor, self.fuse(self.attention(torch.cat(kept, dim=1))))


class Imdn(nn.Module):
    """Distillation blocks at the input resolution, the outputs of all fused; one pixel shuffle at the end."""

    def __init__(self, config: SuperResolutionConfig) -> None:
        super().__init__()
        width, self.scale = config.features, config.scale
        self.head = conv(3, width)
        self.blocks = nn.ModuleList([DistillationBlock(width) for _ in range(config.blocks)])
        self.fuse = conv(config.blocks * width, width, 1)
        self.body_out = conv(width, width)
        self.upsampler = conv(width, 3 * config.scale**2)

    def forward(self, image: Tensor) -> Tensor:
        x = first = self.head(image)
        found = []
        for block in self.blocks:
            found.append(x := block(x))
        fused = F.leaky_relu(self.fuse(torch.cat(found, dim=1)), 0.05)
        return F.pixel_shuffle(self.upsampler(first + self.body_out(fused)), self.scale)


def super_resolution_workload(name: str, entry: SuperResolutionEntry) -> Workload:
    """One pass over `batch` input images of `image` pixels."""
    with weightless():
        module = Edsr(entry.config) if entry.kind == "edsr" else Imdn(entry.config)
        return trace(module, torch.empty(entry.options.batch, 3, *entry.options.image), name=name)
