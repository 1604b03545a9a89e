"""Structural similarity of images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

_K1, _K2 = 0.01, 0.03  # constants of the paper, which keep the ratios finite


def structural_similarity(images: Tensor, truth: Tensor, reach: float = 1.0, sigma: float = 1.5) -> Tensor:
    """SSIM of each image, [n] (Wang et al., 2004): the mean over all pixels and channels.

    Args:
        images, truth: [n, C, H, W]; sides larger than 3.5 sigma.
        reach: the largest value minus the smallest that an image may have.
        sigma: of the Gaussian window in pixels, which is cut at 3.5 sigma; images are mirrored at their border.
    """
    far, channels = int(3.5 * sigma + 0.5), images.shape[1]
    bell = torch.exp(-((torch.arange(-far, far + 1, dtype=images.dtype) / sigma) ** 2) / 2)
    bell = bell / bell.sum()
    window = torch.outer(bell, bell).expand(channels, 1, -1, -1)
    x, y = (pad(each, (far, far, far, far), mode="reflect") for each in (images, truth))
    blurred = conv2d(torch.cat((x, y, x * x, y * y, x * y)), window, groups=channels)
    mean_x, mean_y, square_x, square_y, both = blurred.chunk(5)
    spread = (square_x - mean_x**2).clamp_min(0) + (square_y - mean_y**2).clamp_min(0)
    c1, c2 = (_K1 * reach) ** 2, (_K2 * reach) ** 2
    light = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    detail = (2 * (both - mean_x * mean_y) + c2) / (spread + c2)
    return (light * detail).flatten(1).mean(dim=1)
