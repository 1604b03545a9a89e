"""What tests of the bundled networks share."""

from __future__ import annotations

import copy
from collections.abc import Collection

import torch
from torch import nn


def perturbed(module: nn.Module, size: float, spared: Collection[str] = ()) -> nn.Module:
    """The network with relative noise of `size` on each convolution and matrix but those spared."""
    network = copy.deepcopy(module)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in network.named_parameters():
            if p.ndim >= 2 and name not in spared:
                p += size * p.std() * torch.randn(p.shape, generator=generator)
    return network
