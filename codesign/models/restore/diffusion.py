"""Residual diffusion from the degraded image to the clean one, and its sampler.

The chain of ResShift (Yue, Wang and Loy, 2023): x_t = x_0 + eta_t (y - x_0) + kappa sqrt(eta_t) noise,
from the clean x_0 (eta near 0) to the degraded y plus noise (eta = 1). The network predicts x_0. The noise is low:
the pixels of a restored image should be close to the truth, not one draw from all images that fit.
Image values are -1..1; time runs from 0 (clean) to 1 (degraded).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

KAPPA = 0.001  # noise at time 1: an eighth of a level of 8 bits, so that it does not show in plain areas
STEPS = 4  # that the product takes
MANY_STEPS = 50  # to compare with
_FIRST = 0.002  # eta at time 0

Predict = Callable[[Tensor, Tensor], Tensor]  # (x_t [N,3,H,W], time [N]) -> clean image


def eta(time: Tensor) -> Tensor:
    """Share of the residual at `time` [N], as [N,1,1,1]: grows geometrically from 0.002 to 1."""
    return torch.exp((1 - time) * math.log(_FIRST))[:, None, None, None]


def diffuse(clean: Tensor, degraded: Tensor, time: Tensor, noise: Tensor) -> Tensor:
    """x_t for the given noise."""
    e = eta(time)
    return clean + e * (degraded - clean) + KAPPA * e.sqrt() * noise


def step(x: Tensor, clean: Tensor, time: Tensor, before: Tensor, noise: Tensor) -> Tensor:
    """x at the earlier time `before`, sampled given x at `time` and the predicted clean image."""
    e, p = eta(time), eta(before)
    return p / e * x + (1 - p / e) * clean + KAPPA * (p * (1 - p / e)).sqrt() * noise


def sample(predict: Predict, degraded: Tensor, noise: Tensor) -> Tensor:
    """The clean image after ``len(noise)`` predictions; `noise` is [steps, N, 3, H, W]."""
    steps, count = len(noise), len(degraded)
    x, clean = degraded + KAPPA * noise[0], degraded
    for done in range(steps):
        time = torch.full((count,), (steps - done) / steps)
        clean = predict(x, time)
        if done + 1 < steps:
            x = step(x, clean, time, time - 1 / steps, noise[done + 1])
    return clean
