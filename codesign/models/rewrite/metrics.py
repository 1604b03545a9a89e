"""Metrics of the rewrite task, with statistics per row, so that rows can be resampled."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from sacrebleu.metrics import CHRF

from codesign.models.task import Samples
from codesign.terms import Direction


def ratio_of_sums(name: str, unit: str, direction: Direction, sums: np.ndarray, counts: np.ndarray) -> Samples:
    """A mean over tokens; sums, counts: [n], the sum and the number of tokens of each sequence."""
    return Samples(name, unit, direction, np.stack([sums, counts], axis=1).astype(float), _ratio)


def perplexity(losses: np.ndarray, counts: np.ndarray) -> Samples:
    """exp of the mean negative log-likelihood per token (nats), as torchmetrics' Perplexity over all rows."""
    return Samples("perplexity", "", "minimize", np.stack([losses, counts], axis=1).astype(float), _exp_ratio)


def exact_match(written: Sequence[str], wanted: Sequence[str]) -> Samples:
    """Share of answers that equal the target, character by character."""
    values = np.array([float(a == b) for a, b in zip(written, wanted, strict=True)])
    return Samples("exact_match", "", "maximize", values, lambda rows: float(rows.mean()))


def chrf(written: Sequence[str], wanted: Sequence[str]) -> Samples:
    """Corpus chrF2 (Popović, 2015) by sacrebleu: n-gram counts per sentence, summed over the rows of a resample."""
    metric = CHRF()
    counts = metric._extract_corpus_statistics(list(written), [list(wanted)])

    def reduce(rows: np.ndarray) -> float:
        return float(metric._compute_score_from_stats(rows.sum(axis=0).astype(int).tolist()).score)

    return Samples("chrf", "", "maximize", np.array(counts, dtype=float), reduce)


def _ratio(rows: np.ndarray) -> float:
    total, count = rows.sum(axis=0)
    return float(total / count)


def _exp_ratio(rows: np.ndarray) -> float:
    """exp of the mean; infinite instead of an overflow, which is reported as unmeasurable."""
    mean = _ratio(rows)
    return math.exp(mean) if mean < 700 else math.inf
