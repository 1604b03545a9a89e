"""The four image degradations that `restore` reverses.

Images are float tensors [3, SIZE, SIZE] in -1..1, masks [1, SIZE, SIZE] with 1 where a pixel is missing. All randomness
comes from the given generator.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from codesign.models.restore.fill import fill
from codesign.models.restore.photographs import SIZE

UPSCALE = 4
SENSOR_NOISE = 0.01


def degrade(clean: Tensor, task: str, rng: np.random.Generator, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(degraded image, mask) of a clean crop for a task of `network.TASKS`; `mask`: the hole, else a random one."""
    if task == "super_resolution":
        return _shrunk(clean), torch.zeros(1, SIZE, SIZE)
    if task == "deblur":
        kernel = _random_kernel(rng)
        noise = torch.from_numpy(rng.normal(0, SENSOR_NOISE, clean.shape).astype(np.float32))
        return (_blur(clean, kernel) + noise).clamp(-1, 1), torch.zeros(1, SIZE, SIZE)
    mask = hole(task, rng) if mask is None else mask
    return fill(clean, mask), mask


def hole(task: str, rng: np.random.Generator) -> Tensor:
    """A random mask for ``inpaint`` or ``outpaint``."""
    return _side(rng) if task == "outpaint" else _boxes(rng)


def _shrunk(clean: Tensor) -> Tensor:
    """Downsampled by 4 with antialiasing, rounded to 8 bits, and upsampled by bicubic interpolation."""
    small = F.interpolate(clean[None], scale_factor=1 / UPSCALE, mode="bicubic", antialias=True, align_corners=False)
    small = ((small.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
    return F.interpolate(small, scale_factor=float(UPSCALE), mode="bicubic", align_corners=False)[0].clamp(-1, 1)


def _random_kernel(rng: np.random.Generator) -> Tensor:
    """A blur kernel, 11 x 11: defocus (Gaussian) or linear motion."""
    if rng.random() < 0.5:
        x = torch.arange(-5, 6, dtype=torch.float32)
        k = torch.exp(-0.5 * (x / float(rng.uniform(0.8, 1.8))) ** 2)
        k = k / k.sum()
        return k[:, None] * k[None]
    length, angle = float(rng.uniform(3, 9)), float(rng.uniform(0, np.pi))
    kernel = torch.zeros(11, 11)
    for t in np.linspace(-length / 2, length / 2, 41):
        kernel[round(5 + t * np.sin(angle)), round(5 + t * np.cos(angle))] += 1
    return kernel / kernel.sum()


def _blur(image: Tensor, kernel: Tensor) -> Tensor:
    r = kernel.shape[0] // 2
    padded = F.pad(image[None], (r, r, r, r), mode="replicate")
    return F.conv2d(padded, kernel[None, None].expand(3, 1, -1, -1), groups=3)[0]


def _side(rng: np.random.Generator) -> Tensor:
    """Mask of one side of the image, 12 to 20 pixels wide."""
    side, width = int(rng.integers(0, 4)), int(rng.integers(12, 21))
    mask = torch.zeros(1, SIZE, SIZE)
    band = slice(0, width) if side % 2 == 0 else slice(SIZE - width, SIZE)
    if side < 2:
        mask[:, band] = 1
    else:
        mask[:, :, band] = 1
    return mask


def _boxes(rng: np.random.Generator) -> Tensor:
    """Mask of one to three boxes with sides of 8 to 24 pixels."""
    mask = torch.zeros(1, SIZE, SIZE)
    for _ in range(int(rng.integers(1, 4))):
        height, width = (int(v) for v in rng.integers(8, 25, 2))
        top, left = int(rng.integers(2, SIZE - height - 1)), int(rng.integers(2, SIZE - width - 1))
        mask[:, top : top + height, left : left + width] = 1
    return mask
