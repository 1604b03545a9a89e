"""`F.scaled_dot_product_attention` as two separate matrix products, which exposes the attention probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from codesign.workload.rooms import Rooms

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
    rooms: Rooms | None = None,
) -> Tensor:
    """softmax(q k^T scale + mask) v, equal to torch's fused function up to rounding.

    `qk(q, k, compute)` and `pv(p, v, compute)` call ``compute`` on operands of their choice. With `enable_gqa` they
    receive key and value before these are repeated for the heads of the queries. rooms: where scores
    and then probabilities are computed, if nobody looks at them after `pv`.
    Shapes: query [..., H, L, E], key [..., H_kv, S, E], value [..., H_kv, S, V] -> [..., H, L, V].
    Source: the reference code in PyTorch's documentation of scaled_dot_product_attention.
    """
    copies = query.shape[-3] // key.shape[-3] if enable_gqa else 1
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale

    def heads(x: Tensor) -> Tensor:
        return x if copies == 1 else x.repeat_interleave(copies, dim=-3)

    def scored(q: Tensor, k: Tensor) -> Tensor:
        q, k = q * factor, heads(k).transpose(-2, -1)  # the query, which is smaller than the scores, is scaled
        if rooms is None or q.ndim < 3 or q.shape[:-2] != k.shape[:-2]:
            return torch.matmul(q, k)
        scores = rooms.take("scores", (*q.shape[:-1], k.shape[-1]), q)
        torch.bmm(q.flatten(0, -3), k.flatten(0, -3), out=scores.flatten(0, -3))
        return scores

    scores = qk(query, key, scored)
    if is_causal:  # every query sees the first key
        probabilities = _softmax(_added(scores, _causal(scores), rooms is not None), rooms is not None)
    else:
        probabilities = _masked_softmax(scores, attn_mask, rooms is not None)
    if dropout_p > 0:
        probabilities = F.dropout(probabilities, dropout_p)
    return pv(probabilities, value, lambda p, v: torch.matmul(p, heads(v)))


def attend_in_parts(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    *args: Any,
    most: int = 1 << 20,
    **options: Any,
) -> Tensor:
    """`attend` for some samples of a batch after the other, so that their scores, at most `most`, stay in the cache."""
    batch = query.shape[0]
    rows = max(1, most // max(prod(query.shape[1:-1]) * key.shape[-2], 1))
    if query.ndim != 4 or rows >= batch or not batch == key.shape[0] == value.shape[0]:
        return attend(query, key, value, attn_mask, *args, **options)
    parts = [slice(first, first + rows) for first in range(0, batch, rows)]
    own = attn_mask is not None and attn_mask.ndim == 4 and attn_mask.shape[0] == batch
    masks = [attn_mask[part] if own and attn_mask is not None else attn_mask for part in parts]
    found = [
        attend(query[part], key[part], value[part], mask, *args, **options)
        for part, mask in zip(parts, masks, strict=True)
    ]
    return torch.cat(found)


def _masked_softmax(scores: Tensor, mask: Tensor | None, spare: bool) -> Tensor:
    """Softmax over the last axis; rows in which all keys are masked become zero, as in torch."""
    if mask is None:
        return _softmax(scores, spare)
    visible = mask if mask.dtype == torch.bool else mask > float("-inf")
    if mask.dtype == torch.bool:  # adding an [L, S] bias is cheaper than filling all the scores
        mask = torch.zeros(mask.shape, dtype=scores.dtype, device=mask.device).masked_fill_(~mask, float("-inf"))
    probabilities = _softmax(_added(scores, mask, spare), spare)
    seen = visible.any(-1, keepdim=True)
    if not torch.compiler.is_exporting() and (seen.is_meta or bool(seen.all())):  # a graph must not depend on data
        return probabilities
    return probabilities.masked_fill(~seen, 0.0)


def _added(scores: Tensor, mask: Tensor, spare: bool) -> Tensor:
    fits = torch.broadcast_shapes(scores.shape, mask.shape) == scores.shape
    fits = fits and torch.result_type(scores, mask) == scores.dtype
    return scores.add_(mask) if spare and fits else scores + mask


def _causal(scores: Tensor) -> Tensor:
    """What hides later keys: [L, S], 0 or minus infinity."""
    kept = type(scores) is Tensor and not scores.is_meta  # nothing of another kind (a FakeTensor) stays for others
    return (_later if kept else _later.__wrapped__)(*scores.shape[-2:], scores.dtype, scores.device)


@lru_cache(maxsize=4)
def _later(queries: int, keys: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # it outlives the caller's inference mode
        return torch.full((queries, keys), float("-inf"), dtype=dtype, device=device).triu_(1)


def _softmax(scores: Tensor, spare: bool) -> Tensor:
    return torch.softmax(scores, -1, out=scores) if spare else scores.softmax(-1)


def standins(query: Tensor, key: Tensor) -> Tensor:
    """A meta tensor with the shape of the scores, which fused attention never stores."""
    return torch.empty((*query.shape[:-1], key.shape[-2]), dtype=query.dtype, device="meta")
