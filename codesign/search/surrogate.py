"""What a network's loss will be under an assignment that was not measured yet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_RIDGE = 0.3  # strength of the belief that the sensitivities are right up to one common factor
_FLOOR = 0.05  # a learned correction never shrinks a predicted loss below this share


@dataclass(frozen=True)
class Surrogate:
    """An additive table corrected by what was measured: loss = exp(a) * (sum of `table` entries) ** b.

    `table` [L, C] are predicted raw losses per (layer, choice), inf where not allowed. `b` below 1
    is saturation: a network that is already badly off loses less by the next bad layer.
    `spread` is the standard deviation of log(measured / predicted) on the points that it was fitted to.
    """

    table: np.ndarray
    a: float = 0.0
    b: float = 1.0
    spread: float = 1.0

    def predict(self, choices: np.ndarray) -> np.ndarray:
        """Raw loss of each assignment; `choices` int [..., L] -> float [...]."""
        total = self.table[np.arange(self.table.shape[0]), choices].sum(axis=-1)
        return np.asarray(np.exp(self.a) * np.maximum(total, 1e-30) ** self.b)

    def fitted(self, choices: np.ndarray, losses: np.ndarray) -> Surrogate:
        """The surrogate after measuring `choices` [n, L] with raw `losses` [n].

        First (a, b) by least squares on logarithms; then one factor per format and one per layer, by
        ridge regression on relative error around factor 1: measured points speak about sums of
        contributions, the prior says that the sensitivities are roughly right, and the ridge weighs them.
        """
        layers = np.arange(self.table.shape[0])
        parts = self.table[layers, choices]  # [n, L]
        totals = parts.sum(axis=1)
        use = (totals > 0) & (losses > 0) & np.isfinite(totals)
        if use.sum() < 4:
            return self
        parts, totals, losses, choices = parts[use], totals[use], losses[use], choices[use]
        x, y = np.log(totals), np.log(losses)
        slope = float(np.cov(x, y, bias=True)[0, 1] / max(x.var(), 1e-12)) if x.var() > 0.25 else 1.0
        b = float(np.clip(slope, 0.4, 1.2))
        a = float((y - b * x).mean())
        target = np.exp((y - a) / b)
        columns = self.table.shape[1]
        by_format = np.stack([np.where(choices == c, parts, 0).sum(axis=1) for c in range(columns)], axis=1)
        design = np.concatenate([by_format, parts], axis=1) / target[:, None]  # relative error
        seen = design.any(axis=0)
        residual = 1.0 - totals / target
        matrix = design[:, seen]
        gram = matrix.T @ matrix + _RIDGE * np.eye(matrix.shape[1])
        weights = np.zeros(len(seen))
        weights[seen] = np.linalg.solve(gram, matrix.T @ residual)
        factor = 1.0 + weights[None, :columns] + weights[columns:, None]
        table = self.table * np.maximum(factor, _FLOOR)
        refined = Surrogate(table, a, b)
        error = y - np.log(refined.predict(choices))
        return Surrogate(table, a + float(error.mean()), b, float(error.std()))
