"""The byte-level BPE tokenizer of the rewrite task (1,024 entries), and padding of token ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

VOCABULARY = 1024
PAD, TEXT, TO, END = "<|pad|>", "<|text|>", "<|to|>", "<|end|>"
SPECIAL = (PAD, TEXT, "<|casual->polite|>", "<|polite->casual|>", "<|shorten|>", TO, END)
PAD_ID, TEXT_ID, TO_ID, END_ID = (SPECIAL.index(t) for t in (PAD, TEXT, TO, END))
DATA = Path(__file__).parent / "data"


def build_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Train the tokenizer on `texts`; digits are separate tokens, so that numbers are copied digit by digit."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


@cache
def load_tokenizer() -> Tokenizer:
    """The committed tokenizer."""
    return Tokenizer.from_file(str(DATA / "tokenizer.json"))


def pad_rows(
    rows: Sequence[Sequence[int]], length: int | None = None, *, fill: int = PAD_ID, left: bool = False
) -> np.ndarray:
    """Pad rows of token ids on the right (or left): int16 [n, length]; length: by default that of the longest row.

    Raises ValueError on a row longer than `length`.
    """
    length = length or max(map(len, rows))
    out = np.full((len(rows), length), fill, dtype=np.int16)
    for into, row in zip(out, rows, strict=True):
        if len(row) > length:
            raise ValueError(f"a row has {len(row)} tokens; at most {length} fit")
        start = length - len(row) if left else 0
        into[start : start + len(row)] = row
    return out
