"""Mixture of experts: many gated feed-forward networks, a few of which process each token (Shazeer et al., ICLR 2017).

In a trace
    The matrices of all experts for one projection are one layer, e.g. ``layers.0.mlp.experts.gate_proj``, with one
    format; they are stored as [experts, in, out], as in newer versions of transformers. A product of E experts with m
    tokens each has ``count=E, m=m``. `stationary_elements` counts the experts that receive a token, which are read;
    `idle_elements` counts the others, which are only stored. If the tokens do not divide evenly, the layer has two
    operators whose m differ by one.
Routing
    Expected load instead of an actual routing: each token is processed by k of E experts, all equally likely. T tokens
    then reach E (1 - (1 - k/E)^T) experts, rounded, which share the T k rows evenly: usually all experts in a prefill,
    k experts in a decode pass of one sequence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.workload.configs import LanguageModelConfig
from codesign.workload.types import Operator

_FOLDER = ".experts."


class Experts(nn.Module):
    """[T k, hidden] -> [T k, hidden], with k rows per token."""

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.config = config
        narrow, wide = config.hidden, config.intermediate
        self.gate_proj = nn.Parameter(torch.empty(config.experts, narrow, wide))
        self.up_proj = nn.Parameter(torch.empty(config.experts, narrow, wide))
        self.down_proj = nn.Parameter(torch.empty(config.experts, wide, narrow))

    def forward(self, rows: Tensor) -> Tensor:
        parts, row, first = [], 0, 0
        for experts, load in expert_loads(self.config.experts, self.config.experts_per_token, rows.shape[0]):
            these = slice(first, first + experts)
            x = rows[row : row + experts * load].reshape(experts, load, -1)
            h = F.silu(x @ self.gate_proj[these]) * (x @ self.up_proj[these])
            parts.append((h @ self.down_proj[these]).flatten(0, 1))
            row, first = row + experts * load, first + experts
        return torch.cat(parts)


class MixtureMlp(nn.Module):
    """[B, L, hidden] -> [B, L, hidden]; shapes are correct, the choice of experts is arbitrary."""

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.taken = config.experts_per_token
        self.gate = nn.Linear(config.hidden, config.experts, bias=False)
        self.experts = Experts(config)

    def forward(self, x: Tensor) -> Tensor:
        shares = self.gate(x).flatten(0, 1)[:, : self.taken].softmax(-1)
        tokens = x.flatten(0, 1)[:, None].expand(-1, self.taken, -1)
        found = self.experts(tokens.flatten(0, 1)).unflatten(0, (-1, self.taken))
        return cast(Tensor, (found * shares[..., None]).sum(1).view_as(x))


def expert_loads(experts: int, taken: int, rows: int) -> list[tuple[int, int]]:
    """[(experts, rows per expert)] for `rows` = tokens x `taken`: one entry, or two whose rows differ by one."""
    tokens = rows // taken
    reached = round(experts * (1 - (1 - taken / experts) ** tokens))
    active = min(max(reached, taken), experts, rows)
    least, more = divmod(rows, active)
    return [(n, load) for n, load in ((more, least + 1), (active - more, least)) if n and load]


def with_idle_experts(operators: Iterable[Operator], module: nn.Module) -> tuple[Operator, ...]:
    """The traced operators, with slices of a layer's experts named after the layer and the other experts as idle."""
    stored = {name: p.numel() for name, p in module.named_parameters() if _FOLDER in name}
    found = []
    for op in operators:
        layer = op.layer.partition("#")[0]
        if layer in stored:
            op = replace(op, layer=layer, idle_elements=stored[layer] - op.stationary_elements)
        found.append(op)
    return tuple(found)
