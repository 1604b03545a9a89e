"""The committed evaluation and calibration tokens; ``python -m codesign.models.rewrite.dataset`` rebuilds them.

They are stored so that measurements do not depend on the documentation of the user's Python version.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from codesign.models.rewrite.corpus import documents
from codesign.models.rewrite.generator import HELDOUT_SPLITS, Rewrite, heldout, training_stream
from codesign.models.rewrite.tokens import DATA, END_ID, TEXT_ID, load_tokenizer, pad_rows

LENGTH = 128  # tokens per row
PROSE_ROWS, REWRITES_PER_SPLIT = 32, 32
CALIBRATION_PROSE, CALIBRATION_REWRITES = 16, 32
TUNING_PROSE, TUNING_REWRITES = 128, 256  # windows
SEED = 0


@dataclass(frozen=True)
class RewriteRows:
    """Examples as rows of tokens."""

    tokens: np.ndarray  # [n, LENGTH]: the prompt, the target up to END, then END as padding
    prompt: np.ndarray  # [n], tokens of the prompt
    total: np.ndarray  # [n], tokens of prompt and target
    split: np.ndarray  # [n], index into HELDOUT_SPLITS; -1 for the training split

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, rows: np.ndarray) -> RewriteRows:
        return RewriteRows(self.tokens[rows], self.prompt[rows], self.total[rows], self.split[rows])

    def prompts(self) -> list[list[int]]:
        """Token ids up to and including TO."""
        return [row[:p].tolist() for row, p in zip(self.tokens, self.prompt, strict=True)]

    def targets(self) -> list[list[int]]:
        """Token ids of the answer without END."""
        return [row[p : t - 1].tolist() for row, p, t in zip(self.tokens, self.prompt, self.total, strict=True)]


@dataclass(frozen=True)
class RewriteData:
    """Held-out and calibration data."""

    prose: np.ndarray  # held-out windows [n, LENGTH]
    rewrites: RewriteRows  # held-out
    calibration_prose: np.ndarray  # [n, LENGTH]
    calibration_rewrites: RewriteRows


def encode_rewrites(examples: Sequence[Rewrite], split: int) -> RewriteRows:
    """Encode examples as rows; raises ValueError on one longer than LENGTH."""
    tokenizer = load_tokenizer()
    prompts = [tokenizer.encode(e.prompt).ids for e in examples]
    rows = [p + tokenizer.encode(e.target).ids + [END_ID] for p, e in zip(prompts, examples, strict=True)]
    return RewriteRows(
        pad_rows(rows, LENGTH, fill=END_ID),
        np.array([len(p) for p in prompts], dtype=np.int16),
        np.array([len(r) for r in rows], dtype=np.int16),
        np.full(len(rows), split, dtype=np.int16),
    )


def prose_windows(split: Literal["train", "heldout"], count: int | None, seed: int = SEED) -> np.ndarray:
    """Non-overlapping windows [count, LENGTH] drawn from the documents of a split; all windows if count is None."""
    encoded = load_tokenizer().encode_batch([d.text for d in documents(split)])
    stream = np.concatenate([np.array([TEXT_ID, *e.ids, END_ID], dtype=np.int16) for e in encoded])
    windows = stream[: len(stream) // LENGTH * LENGTH].reshape(-1, LENGTH)
    if count is None:
        return windows
    chosen = np.sort(np.random.default_rng(seed).choice(len(windows), count, replace=False))
    return windows[chosen]


def training_windows(seed: int = SEED) -> np.ndarray:
    """Windows [TUNING_PROSE + TUNING_REWRITES, LENGTH] of text of the training split; messages follow each other.

    The prose is that of this Python's documentation.
    """
    needed, found = TUNING_REWRITES * LENGTH, list[int]()
    examples, tokenizer = training_stream(f"tuning:{seed}"), load_tokenizer()
    while len(found) < needed:
        found += tokenizer.encode(next(examples).text).ids
    rewrites = np.array(found[:needed], dtype=np.int16).reshape(-1, LENGTH)
    return np.concatenate([prose_windows("train", TUNING_PROSE, seed), rewrites])


def heldout_rows(per_split: int, seed: int = SEED) -> RewriteRows:
    """`per_split` examples of each held-out split, interleaved."""
    parts = [encode_rewrites(heldout(name, per_split, seed), i) for i, name in enumerate(HELDOUT_SPLITS)]
    order = np.arange(per_split * len(parts)).reshape(len(parts), per_split).T.reshape(-1)
    return _joined(parts).take(order)


def _joined(parts: Sequence[RewriteRows]) -> RewriteRows:
    return RewriteRows(
        *(np.concatenate([getattr(p, f) for p in parts]) for f in ("tokens", "prompt", "total", "split"))
    )


def build() -> dict[str, np.ndarray]:
    """The arrays of the committed file, from this Python's documentation and the generator."""
    calibration = list(islice(training_stream("calibration"), CALIBRATION_REWRITES))
    arrays = {
        "prose": prose_windows("heldout", PROSE_ROWS),
        "calibration_prose": prose_windows("train", CALIBRATION_PROSE),
    }
    for name, rows in (
        ("rewrites", heldout_rows(REWRITES_PER_SPLIT)),
        ("calibration_rewrites", encode_rewrites(calibration, -1)),
    ):
        arrays |= {f"{name}_{field}": getattr(rows, field) for field in ("tokens", "prompt", "total", "split")}
    return arrays


def load_data(path: Path = DATA / "evaluation.npz") -> RewriteData:
    """The committed rows."""
    with np.load(path, allow_pickle=False) as arrays:

        def rows(name: str) -> RewriteRows:
            return RewriteRows(*(arrays[f"{name}_{f}"] for f in ("tokens", "prompt", "total", "split")))

        return RewriteData(arrays["prose"], rows("rewrites"), arrays["calibration_prose"], rows("calibration_rewrites"))


if __name__ == "__main__":
    np.savez_compressed(DATA / "evaluation.npz", allow_pickle=False, **build())
    print(f"wrote {DATA / 'evaluation.npz'} ({(DATA / 'evaluation.npz').stat().st_size} bytes)", file=sys.stderr)
