"""Distances of what a call of a network returns from what the float network returned, which tuning minimizes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from codesign.errors import InputError

_LEAST = 1e-20  # mean square of a tensor of zeros


def mean_squares(returned: Any, wanted: Any) -> Tensor:
    """Mean squared error of each floating-point tensor over the mean square of the wanted one, summed over tensors.

    Raises InputError if there is none.
    """
    found = [
        (ours.float() - theirs.float()).square().mean() / theirs.float().square().mean().clamp_min(_LEAST)
        for ours, theirs in zip(tree_leaves(returned), tree_leaves(wanted), strict=True)
        if isinstance(theirs, Tensor) and theirs.is_floating_point() and theirs.numel()
    ]
    if not found:
        raise InputError("a call of the network returns no floating-point tensor: it cannot be tuned")
    return torch.stack(found).sum()


def divergence(logits: Tensor, wanted: Tensor) -> Tensor:
    """Mean KL divergence of distributions by their logits [..., classes] from the wanted ones, in nats."""
    ours, theirs = logits.float().log_softmax(-1), wanted.float().log_softmax(-1)
    per_row: Tensor = (theirs.exp() * (theirs - ours)).sum(-1)
    return per_row.mean()
