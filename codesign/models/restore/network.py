"""The restoration U-Net: Stable Diffusion's building blocks at 1/700 of its size."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.models.restore.diffusion import eta

TASKS = ("super_resolution", "deblur", "inpaint", "outpaint")
CHANNELS = (32, 64, 96)
TIME_CHANNELS = 128
_GROUPS = 8


class ResnetBlock(nn.Module):
    """Twice norm, SiLU and convolution, with the time embedding added in between; residual."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(_GROUPS, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time = nn.Linear(TIME_CHANNELS, outputs)
        self.norm2 = nn.GroupNorm(_GROUPS, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time(time)[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        out: Tensor = self.shortcut(x) + h
        return out


class SelfAttention(nn.Module):
    """Multi-head self-attention over the pixels of a feature map."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(_GROUPS, channels)
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(channels, channels, bias=False)
        self.to_v = nn.Linear(channels, channels, bias=False)
        self.to_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = (
            p(tokens).view(batch, -1, self.heads, channels // self.heads).transpose(1, 2)
            for p in (self.to_q, self.to_k, self.to_v)
        )
        out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, -1, channels)
        change: Tensor = self.to_out(out).transpose(1, 2).view(batch, channels, height, width)
        return x + change


class Level(nn.Module):
    """One resolution of the encoder or decoder."""

    def __init__(self, inputs: int, outputs: int, attention: bool) -> None:
        super().__init__()
        self.resnet = ResnetBlock(inputs, outputs)
        self.attn = SelfAttention(outputs, outputs // 32) if attention else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        out: Tensor = self.attn(self.resnet(x, time))
        return out


class Middle(nn.Module):
    """The lowest resolution: residual block, attention, residual block."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.resnet1 = ResnetBlock(channels, channels)
        self.attn = SelfAttention(channels, channels // 32)
        self.resnet2 = ResnetBlock(channels, channels)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        out: Tensor = self.resnet2(self.attn(self.resnet1(x, time)), time)
        return out


class RestoreUNet(nn.Module):
    """Predicts the clean image from a noisy one and its degraded version.

    forward(noisy [N,3,H,W], degraded [N,3,H,W], mask [N,1,H,W], time [N] in 0..1, task [N] int)
    -> clean image [N,3,H,W]; H and W are multiples of 8; values in -1..1; mask is 1 where a pixel is
    missing. The result is the degraded image plus a learned residual, which starts at zero.
    """

    def __init__(self) -> None:
        super().__init__()
        c0, c1, c2 = CHANNELS
        self.time_in = nn.Linear(64, TIME_CHANNELS)
        self.time_out = nn.Linear(TIME_CHANNELS, TIME_CHANNELS)
        self.task = nn.Embedding(len(TASKS), TIME_CHANNELS)
        self.conv_in = nn.Conv2d(28, c0, 3, padding=1)
        self.down0 = Level(c0, c0, False)
        self.downsample0 = nn.Conv2d(c0, c0, 3, stride=2, padding=1)
        self.down1 = Level(c0, c1, True)
        self.downsample1 = nn.Conv2d(c1, c1, 3, stride=2, padding=1)
        self.down2 = Level(c1, c2, True)
        self.mid = Middle(c2)
        self.up2 = Level(2 * c2, c2, True)
        self.upsample1 = nn.Conv2d(c2, c1, 3, padding=1)
        self.up1 = Level(2 * c1, c1, True)
        self.upsample0 = nn.Conv2d(c1, c0, 3, padding=1)
        self.up0 = Level(2 * c0, c0, False)
        self.norm_out = nn.GroupNorm(_GROUPS, c0)
        self.conv_out = nn.Conv2d(c0, 12, 3, padding=1)
        for parameter in self.conv_out.parameters():
            nn.init.zeros_(parameter)

    def embed(self, time: Tensor, task: Tensor) -> Tensor:
        """Sinusoidal time and learned task embedding, [N, TIME_CHANNELS]."""
        frequencies = torch.exp(torch.arange(32, device=time.device) * (-math.log(1000.0) / 31))
        angles = 1000.0 * time[:, None] * frequencies[None]
        h = self.time_in(torch.cat([angles.sin(), angles.cos()], dim=1))
        return F.silu(self.time_out(F.silu(h + self.task(task))))

    def encode(self, noisy: Tensor, degraded: Tensor, mask: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Feature maps of the three resolutions and of the middle, given the embedding t [N, TIME_CHANNELS]."""
        x = self.conv_in(F.pixel_unshuffle(torch.cat([noisy, degraded, mask], dim=1), 2))
        skip0 = self.down0(x, t)
        skip1 = self.down1(self.downsample0(skip0), t)
        skip2 = self.down2(self.downsample1(skip1), t)
        return skip0, skip1, skip2, self.mid(skip2, t)

    def forward(self, noisy: Tensor, degraded: Tensor, mask: Tensor, time: Tensor, task: Tensor) -> Tensor:
        t = self.embed(time, task)
        skip0, skip1, skip2, x = self.encode(noisy, degraded, mask, t)
        x = self.up2(torch.cat([x, skip2], dim=1), t)
        x = self.upsample1(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        x = self.up1(torch.cat([x, skip1], dim=1), t)
        x = self.upsample0(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        x = self.up0(torch.cat([x, skip0], dim=1), t)
        residual = F.pixel_shuffle(self.conv_out(F.silu(self.norm_out(x))), 2)
        # Of the change that the chain has come to, `eta` of its prediction lies ahead: the network judges it anew, in
        # units of what is expected, and its judgement counts for less the nearer the chain is to its end (as in
        # consistency models, where the network's share falls to nothing at time 0).
        ahead = eta(time)
        begun = (1 - ahead) * (noisy - degraded)
        anew = begun + expected_change(degraded, mask) * residual
        change = begun + (1 - (1 - ahead).square()) * anew
        # tasks with a hole keep the known pixels; the others change all pixels
        with_hole = (task >= TASKS.index("inpaint"))[:, None, None, None]
        return degraded + torch.where(with_hole, mask * change, change)


def expected_change(degraded: Tensor, mask: Tensor) -> Tensor:
    """Expected magnitude of clean - degraded, [N,1,H,W], estimated from the contrast of the degraded image.

    A share of the local standard deviation (7 x 7 pixels); in holes, a larger share of that of the whole image.
    """
    grey = degraded.mean(dim=1, keepdim=True)
    mean = F.avg_pool2d(grey, 7, stride=1, padding=3, count_include_pad=False)
    square = F.avg_pool2d(grey.square(), 7, stride=1, padding=3, count_include_pad=False)
    local = (square - mean.square()).clamp_min(0.0).sqrt()
    whole = grey.std(dim=(1, 2, 3), keepdim=True)
    return torch.where(mask > 0, 0.5 * whole, 0.4 * local + 0.05 * whole) + 0.004
