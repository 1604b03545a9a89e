"""Greedy decoding of a batch of prompts with a KV cache."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from codesign.models.rewrite.network import DecoderConfig, KvCache
from codesign.models.rewrite.tokens import END_ID, load_tokenizer, pad_rows

MAX_NEW_TOKENS = 56  # the longest right answer to a held-out message has 48


@torch.no_grad()
def generate(
    module: nn.Module, config: DecoderConfig, prompts: Sequence[Sequence[int]], new_tokens: int = MAX_NEW_TOKENS
) -> Tensor:
    """Token ids of the answers, int64 [n, new_tokens], padded with END after their first END.

    Prompts are padded on the left, so that all answers grow in step; an answer that has ended leaves the batch.
    """
    tokens = torch.from_numpy(pad_rows(prompts, fill=END_ID, left=True).astype(np.int64))
    lengths = torch.tensor([len(p) for p in prompts])
    valid = torch.arange(tokens.shape[1])[None, :] >= tokens.shape[1] - lengths[:, None]
    cache = KvCache.empty(config, len(prompts))
    written = torch.full((len(prompts), new_tokens), END_ID)
    writing = torch.arange(len(prompts))
    logits = module(tokens, cache, valid)
    for step in range(new_tokens):
        chosen = logits[:, -1].argmax(-1)
        written[writing, step] = chosen
        going = chosen != END_ID
        if step == new_tokens - 1 or not bool(going.any()):
            break
        if not bool(going.all()):
            writing, chosen = writing[going], chosen[going]
            cache.keep(going)
        logits = module(chosen[:, None], cache)
    return written


def texts(ids: Tensor | Sequence[Sequence[int]]) -> list[str]:
    """Decode rows of token ids up to their first END."""
    rows = ids.tolist() if isinstance(ids, Tensor) else [list(row) for row in ids]
    return load_tokenizer().decode_batch([row[: row.index(END_ID)] if END_ID in row else row for row in rows])
