"""`F.scaled_dot_product_attention` as two separate matrix products, which exposes the attention probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Compute = Callable[[Tensor, Tensor], Tensor]
Wrapped = Callable[[Tensor, Tensor, Compute], Tensor]


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    qk: Wrapped,
    pv: Wrapped,
) -> Tensor:
    """softmax(q k^T scale + mask) v, equal to torch's fused function up to rounding.

    `qk(q, k, compute)` and `pv(p, v, compute)` call ``compute`` on operands of their choice. With `enable_gqa` they
    receive key and value before these are repeated for the heads of the queries.
    Shapes: query [..., H, L, E], key [..., H_kv, S, E], value [..., H_kv, S, V] -> [..., H, L, V].
    Source: the reference code in PyTorch's documentation of scaled_dot_product_attention.
    """
    copies = query.shape[-3] // key.shape[-3] if enable_gqa else 1
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale

    def heads(x: Tensor) -> Tensor:
        return x if copies == 1 else x.repeat_interleave(copies, dim=-3)

    # scale the query, which is smaller than the scores
    scores = qk(query, key, lambda q, k: torch.matmul(q * factor, heads(k).transpose(-2, -1)))
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    probabilities = _masked_softmax(scores, attn_mask)
    if dropout_p > 0:
        probabilities = F.dropout(probabilities, dropout_p)
    return pv(probabilities, value, lambda p, v: torch.matmul(p, heads(v)))


def _masked_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax over the last axis; rows in which all keys are masked become zero, as in torch."""
    if mask is None:
        return scores.softmax(-1)
    visible = mask if mask.dtype == torch.bool else mask > float("-inf")
    if mask.dtype == torch.bool:  # adding an [L, S] bias is cheaper than filling all the scores
        mask = torch.zeros(mask.shape, dtype=scores.dtype, device=mask.device).masked_fill_(~mask, float("-inf"))
    probabilities = (scores + mask).softmax(-1)
    seen = visible.any(-1, keepdim=True)
    if seen.is_meta or bool(seen.all()):
        return probabilities
    return probabilities.masked_fill(~seen, 0.0)


def standins(query: Tensor, key: Tensor) -> Tensor:
    """A meta tensor with the shape of the scores, which fused attention never stores."""
    return torch.empty((*query.shape[:-1], key.shape[-2]), dtype=query.dtype, device="meta")
