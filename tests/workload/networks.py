"""Small modules that the workload tests share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SelfAttention(nn.Module):
    """Four heads of width 4 over [B, L, 16]; `style` is how the two products are written."""

    def __init__(self, style: str = "fused") -> None:
        super().__init__()
        self.to_q, self.to_k, self.to_v = (nn.Linear(16, 16) for _ in range(3))
        self.style = style

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (y.unflatten(-1, (4, 4)).transpose(1, 2) for y in (self.to_q(x), self.to_k(x), self.to_v(x)))
        return attention(q, k, v, self.style).transpose(1, 2).flatten(2)


def attention(q: Tensor, k: Tensor, v: Tensor, style: str) -> Tensor:
    scale = q.shape[-1] ** -0.5
    if style == "fused":
        return F.scaled_dot_product_attention(q, k, v)
    if style == "matmul":
        return torch.matmul(q, k.transpose(-1, -2)).mul(scale).softmax(-1) @ v
    if style == "bmm":
        flat = [y.flatten(0, 1) for y in (q, k, v)]
        p = torch.bmm(flat[0], flat[1].transpose(1, 2)).mul(scale).softmax(-1)
        return torch.bmm(p, flat[2]).view_as(q)
    if style == "baddbmm":
        flat = [y.flatten(0, 1) for y in (q, k, v)]
        bias = torch.zeros((), dtype=q.dtype, device=q.device)
        scores = torch.baddbmm(bias.expand(1, 1, 1), flat[0], flat[1].transpose(1, 2), beta=0, alpha=scale)
        return torch.bmm(scores.softmax(-1), flat[2]).view_as(q)
    if style == "einsum":
        p = torch.einsum("bhid,bhjd->bhij", q, k).mul(scale).softmax(-1)
        return torch.einsum("b h i j, b h j d -> b h i d", p, v)
    if style == "einsum-ellipsis":
        p = torch.einsum("...id,...jd->...ij", q, k).mul(scale).softmax(-1)
        return torch.einsum("...ij,...jd->...id", p, v)
    raise AssertionError(style)


class SmallNet(nn.Module):
    """Convolutions, attention and a linear layer: [B, 3, 8, 8] -> [B, 5]."""

    def __init__(self, style: str = "matmul") -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.attn = SelfAttention(style)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.depthwise(F.relu(self.norm(self.conv_in(x)))))
        x = self.attn(x.flatten(2).transpose(1, 2))
        return self.head(x.mean(1))
