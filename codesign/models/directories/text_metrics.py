"""Metrics of the logits of a language model, sequence by sequence. Labels: the tokens that were to be predicted."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from codesign.models.losses import Loss, Metric

IGNORED = -100  # label of a position that does not count, as torch has it


def kl_to_float(logits: Tensor, reference: Tensor) -> Tensor:
    """Mean KL divergence of the next token's distribution from the float network's, nats per token, [n]."""
    ours, floats = logits.float().log_softmax(-1), reference.float().log_softmax(-1)
    per_token = (floats.exp() * (floats - ours)).sum(-1)
    return per_token.flatten(1).mean(1).clamp_min(0) if per_token.ndim > 1 else per_token.clamp_min(0)


def cross_entropy(logits: Tensor, _: Tensor, labels: Tensor) -> Tensor:
    """Mean negative log-likelihood of the labels, nats per token, [n]."""
    losses = F.cross_entropy(logits.float().movedim(-1, 1), labels, ignore_index=IGNORED, reduction="none")
    counted = labels != IGNORED
    return losses.sum(1) / counted.sum(1).clamp_min(1)


def top1_agreement(logits: Tensor, reference: Tensor) -> Tensor:
    """Share of the positions at which the likeliest token is the float network's, [n]."""
    same = (logits.argmax(-1) == reference.argmax(-1)).float()
    return same.flatten(1).mean(1) if same.ndim > 1 else same


def _perplexity(values: np.ndarray) -> float:
    return float(np.exp(values.mean()))


KL = Loss(kl_to_float, unit="nats/token", probe="kl")
LOSSES = {
    "kl_to_float": KL,
    "cross_entropy": Loss(cross_entropy, "raw", "nats/token", probe="kl"),
    "perplexity": Loss(cross_entropy, "raw", "", "perplexity", probe="kl", reduce=_perplexity),
}
AGREEMENT = Metric(top1_agreement, unit="")
PERPLEXITY = Metric(cross_entropy, "perplexity", "", "minimize", _perplexity)
PLAIN_KL = Metric(kl_to_float, "kl", "nats/token", "minimize")


def next_tokens(ids: Tensor) -> Tensor:
    """Labels of a causal language model: at each position the token that follows, none at the last."""
    return torch.cat([ids[:, 1:], torch.full_like(ids[:, :1], IGNORED)], dim=1)
