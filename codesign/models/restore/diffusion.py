"""Residual diffusion from the degraded image, its sampler and the consistency loss.

The chain of ResShift (Yue, Wang and Loy, 2023): x_t = x_0 + eta_t (y - x_0) + kappa sqrt(eta_t) noise,
from the clean x_0 (eta near 0) to the degraded y plus noise (eta = 1). The network predicts x_0.
Image values are -1..1; time runs from 0 (clean) to 1 (degraded).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

KAPPA = 0.1  # noise at time 1: modest, so that pixels stay close to the truth
TEMPERATURE = 0.1  # share of the chain's noise that sampling uses; low values favour fidelity over diversity
TEACHER_STEPS = 50
STUDENT_STEPS = 4
LONGEST_JUMP = 12  # largest number of teacher steps that a consistency target spans
_FIRST = 0.002  # eta at time 0

Predict = Callable[[Tensor, Tensor], Tensor]  # (x_t [N,3,H,W], time [N]) -> clean image


def eta(time: Tensor) -> Tensor:
    """Share of the residual at `time` [N], as [N,1,1,1]: grows geometrically from 0.002 to 1."""
    return torch.exp((1 - time) * math.log(_FIRST))[:, None, None, None]


def diffuse(clean: Tensor, degraded: Tensor, time: Tensor, noise: Tensor) -> Tensor:
    """x_t for the given noise."""
    e = eta(time)
    return clean + e * (degraded - clean) + KAPPA * e.sqrt() * noise


def preconditioning(time: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
    """(skip, scale) [N,1,H,W] of the prediction degraded + skip (x_t - degraded) + scale * network.

    spread: [N,1,H,W], the expected magnitude of clean - degraded at each pixel. skip gives the best linear prediction
    of that residual from x_t for Gaussian residuals; scale is the standard deviation of its error, so that the target
    of the network has about unit variance (after Karras et al., "Elucidating the design space of diffusion-based
    generative models", 2022).
    """
    e = eta(time)
    seen, noise = spread.square() * (1 - e), KAPPA**2 * e
    total = seen * (1 - e) + noise
    return seen / total, spread * (noise / total).sqrt()


def step(x: Tensor, clean: Tensor, time: Tensor, before: Tensor, noise: Tensor) -> Tensor:
    """x at the earlier time `before`, sampled given x at `time` and the predicted clean image."""
    e, p = eta(time), eta(before)
    return p / e * x + (1 - p / e) * clean + KAPPA * (p * (1 - p / e)).sqrt() * noise


def glide(x: Tensor, clean: Tensor, degraded: Tensor, time: Tensor, before: Tensor) -> Tensor:
    """The deterministic step to `before`, which keeps the noise that `clean` implies in x and only rescales it."""
    e = eta(time)
    noise = (x - clean - e * (degraded - clean)) / (KAPPA * e.sqrt())
    return diffuse(clean, degraded, before, noise)


def sample(predict: Predict, degraded: Tensor, noise: Tensor) -> Tensor:
    """The clean image after ``len(noise)`` predictions; `noise` is [steps, N, 3, H, W]."""
    steps, count = len(noise), len(degraded)
    x, clean = degraded + TEMPERATURE * KAPPA * noise[0], degraded
    for done in range(steps):
        time = torch.full((count,), (steps - done) / steps)
        clean = predict(x, time)
        if done + 1 < steps:
            x = step(x, clean, time, time - 1 / steps, TEMPERATURE * noise[done + 1])
    return clean


def consistency_pair(
    teacher: Predict, clean: Tensor, degraded: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(x_t, t, x_s, s) on one trajectory of the teacher, s up to `LONGEST_JUMP` teacher steps before t.

    A consistency model gives the same image for both (Song et al., "Consistency models", 2023).
    """
    k = torch.randint(2, TEACHER_STEPS + 1, (len(clean),), generator=generator)
    jump = torch.randint(1, LONGEST_JUMP + 1, (len(clean),), generator=generator).minimum(k - 1)
    time, before = k / TEACHER_STEPS, (k - jump) / TEACHER_STEPS
    x = diffuse(clean, degraded, time, torch.randn(clean.shape, generator=generator))
    with torch.no_grad():
        earlier = glide(x, teacher(x, time), degraded, time, before)
    return x, time, earlier, before
