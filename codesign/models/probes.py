"""Probes: random scalars v.y of a network's output y, whose v has the second moment of a loss's curvature.

`codesign.quality.sensitivity` backpropagates them to estimate the loss of small changes, see `Task.probe`.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rademacher(y: Tensor, generator: torch.Generator) -> Tensor:
    """For the mean squared error: v is +-1 with equal probability, over the square root of the number of elements."""
    signs = torch.randint(0, 2, y.shape, generator=generator).to(y) * 2 - 1
    scalar: Tensor = (y * signs).sum() / y.numel() ** 0.5
    return scalar


def sampled_label(log_probs: Tensor, generator: torch.Generator) -> Tensor:
    """For the mean KL divergence of log-probabilities [n, classes]: the score of labels that the network samples.

    To second order, KL = 1/2 d^T F d per row, where F is the second moment of the score. Labels of different rows are
    independent, so that E[(grad . d)^2] of the sum over n rows is the sum of d^T F d, and division by 2 n gives the
    mean KL (Amari, 1998; Martens, 2020).
    """
    below = log_probs.detach().exp().cumsum(dim=1)
    level = torch.rand(len(below), 1, generator=generator) * below[:, -1:]
    drawn = torch.searchsorted(below, level).clamp(max=below.shape[1] - 1)  # 20 times faster than multinomial
    score: Tensor = log_probs.gather(1, drawn).sum() / (2 * len(log_probs)) ** 0.5
    return score


def kl_of_logits(logits: Tensor, generator: torch.Generator) -> Tensor:
    """`sampled_label` of logits [..., classes]."""
    return sampled_label(logits.flatten(0, -2).float().log_softmax(dim=1), generator)
