"""Orthogonal matrices that spread outliers over all channels."""

from __future__ import annotations

import torch
from torch import Tensor


def random_rotation(size: int, seed: int) -> Tensor:
    """A random orthogonal matrix [size, size], float64, the same for the same size and seed.

    A randomised Hadamard matrix H diag(signs) / sqrt(n) where the size n is a power of two (Ashkboos et al., "QuaRot",
    2024, section 2). Else the Kronecker product of that of the largest power of two that divides the size, and a random
    orthogonal matrix of the odd factor, since not for every size a Hadamard matrix is known.
    """
    generator = torch.Generator().manual_seed(seed)
    power = size & -size
    found = torch.ones(1, 1, dtype=torch.float64)
    while len(found) < power:  # Sylvester's construction
        found = torch.cat([torch.cat([found, found], 1), torch.cat([found, -found], 1)])
    found = torch.kron(found / power**0.5, _orthogonal(size // power, generator))
    signs = torch.randint(0, 2, (size,), generator=generator) * 2.0 - 1.0
    return signs.double()[:, None] * found


def centred_rotation(size: int, seed: int) -> Tensor:
    """A random orthogonal matrix R [size, size], float64, whose rows and columns each sum to 1.

    x R has the mean of x, so that a LayerNorm of x R is that of x, rotated: both subtract the mean and divide by the
    same deviation. R = Q diag(1, U) Q^T, where Q reflects the first axis onto (1, ..., 1) / sqrt(n), and U is uniformly
    distributed.
    """
    generator = torch.Generator().manual_seed(seed)
    inner = torch.block_diag(torch.ones(1, 1, dtype=torch.float64), _orthogonal(size - 1, generator))
    mirror = torch.full((size,), -(size**-0.5), dtype=torch.float64)
    mirror[0] += 1
    reflection = torch.eye(size, dtype=torch.float64) - 2 * torch.outer(mirror, mirror) / (mirror @ mirror)
    found: Tensor = reflection @ inner @ reflection
    return found


def _orthogonal(size: int, generator: torch.Generator) -> Tensor:
    """Uniformly distributed (Mezzadri, "How to generate random matrices from the classical compact groups", 2007)."""
    if size == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    q, r = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    found: Tensor = (q * r.diagonal().sign()).contiguous()
    return found
