"""A mixture of experts: many gated feed-forwards, of which each token takes a few (Shazeer et al., ICLR 2017).

How a trace says it
    The experts' matrices of one projection are one layer, e.g. ``layers.0.mlp.experts.gate_proj``, with one
    format, as newer transformers store them: [experts, in, out]. A product of E experts with m tokens each has
    ``count=E, m=m``; `stationary_elements` are those of the experts that have a token, so only these are read;
    `idle_elements` are those of the others, which are stored all the same. Where the tokens do not divide
    evenly, the layer has two operators, of one token more and less.
Who gets the tokens
    Routing is expected, not run: each token takes k different experts out of E, all alike likely. T tokens
    then reach E (1 - (1 - k/E)^T) experts, rounded, which share their T k rows evenly: in a prefill usually
    all of them, in a decode pass of one sequence k.
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
    """Rows [T k, hidden], k for each token -> [T k, hidden]."""

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
    """[B, L, hidden] -> [B, L, hidden]; right in its shapes, not in its choice of experts."""

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
    """(experts, rows of each) of `rows` = tokens x `taken`; one entry, or two that differ by one row."""
    tokens = rows // taken
    reached = round(experts * (1 - (1 - taken / experts) ** tokens))
    active = min(max(reached, taken), experts, rows)
    least, more = divmod(rows, active)
    return [(n, load) for n, load in ((more, least + 1), (active - more, least)) if n and load]


def with_idle_experts(operators: Iterable[Operator], module: nn.Module) -> tuple[Operator, ...]:
    """The traced operators, in which a part of a layer's experts is the layer, the others being idle."""
    stored = {name: p.numel() for name, p in module.named_parameters() if _FOLDER in name}
    found = []
    for op in operators:
        layer = op.layer.partition("#")[0]
        if layer in stored:
            op = replace(op, layer=layer, idle_elements=stored[layer] - op.stationary_elements)
        found.append(op)
    return tuple(found)
