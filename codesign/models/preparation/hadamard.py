"""Orthogonal matrices that spread outliers over all channels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Rotation:
    """An orthogonal matrix R = diag(signs) (F1 x F2 x ...), with the Kronecker product of some factors, in float64.

    x R takes the sum of the factors' sizes for each element of x, not their product: a Hadamard matrix is the Kronecker
    product of smaller ones.
    """

    signs: Tensor  # [n]
    factors: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.signs)

    def __call__(self, x: Tensor) -> Tensor:
        """x R for x [..., n]."""
        parts = (x * self.signs).reshape(*x.shape[:-1], *map(len, self.factors))
        for axis, factor in enumerate(self.factors, start=-len(self.factors)):
            parts = (parts.movedim(axis, -1) @ factor).movedim(-1, axis)
        return parts.reshape(x.shape)


def random_rotation(size: int, seed: int) -> Rotation:
    """A random rotation of a size, the same for the same size and seed.

    A randomised Hadamard matrix H diag(signs) / sqrt(n) where the size n is a power of two (Ashkboos et al., "QuaRot",
    2024, section 2). Else the Kronecker product of that of the largest power of two that divides the size, and a random
    orthogonal matrix of the odd factor, since not for every size a Hadamard matrix is known.
    """
    generator = torch.Generator().manual_seed(seed)
    exponent = (size & -size).bit_length() - 1
    factors = [_hadamard(exponent // 2), _hadamard(exponent - exponent // 2), _orthogonal(size >> exponent, generator)]
    signs = torch.randint(0, 2, (size,), generator=generator) * 2.0 - 1.0
    return Rotation(signs.double(), tuple(each for each in factors if len(each) > 1) or (factors[-1],))


def centred_rotation(size: int, seed: int) -> Rotation:
    """A random rotation R whose rows and columns each sum to 1.

    x R has the mean of x, so that a LayerNorm of x R is that of x, rotated: both subtract the mean and divide by the
    same deviation. R = Q diag(1, U) Q^T, where Q reflects the first axis onto (1, ..., 1) / sqrt(n), and U is uniformly
    distributed.
    """
    generator = torch.Generator().manual_seed(seed)
    ones = torch.ones(size, dtype=torch.float64)
    inner = torch.block_diag(ones[:1, None], _orthogonal(size - 1, generator))
    mirror = -ones / size**0.5
    mirror[0] += 1
    reflection = torch.eye(size, dtype=torch.float64) - 2 * torch.outer(mirror, mirror) / (mirror @ mirror)
    return Rotation(ones, (reflection @ inner @ reflection,))


def _hadamard(exponent: int) -> Tensor:
    """Sylvester's Hadamard matrix of size 2**exponent, with rows of length 1."""
    found = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(exponent):
        found = torch.cat([torch.cat([found, found], 1), torch.cat([found, -found], 1)]) / 2**0.5
    return found


def _orthogonal(size: int, generator: torch.Generator) -> Tensor:
    """Uniformly distributed (Mezzadri, "How to generate random matrices from the classical compact groups", 2007)."""
    if size == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    q, r = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    found: Tensor = q * r.diagonal().sign()
    return found
