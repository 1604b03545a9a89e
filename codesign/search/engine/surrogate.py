"""What a network's loss will be under an assignment that was not measured yet, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from codesign.search.engine.interactions import Interactions

_RIDGE = 0.3  # strength of the belief that the sensitivities are right up to one common factor
_FLOOR = 0.05  # a learned correction never shrinks a predicted loss below this share
_UNKNOWN = 0.7  # standard deviation of log(loss) before anything was measured: a factor of two
_RECENT = 1000  # measured points that the corrections are fitted to


@dataclass(frozen=True)
class Surrogate:
    """An additive table corrected by what was measured: loss = exp(a) * (sum of `table` entries) ** b * interactions.

    `table` [L, C] are predicted raw losses per (layer, choice), inf where not allowed. `b` below 1
    is saturation: a network that is already badly off loses less by the next bad layer.
    `interactions` learns what no sum of layers explains.
    """

    table: np.ndarray
    a: float = 0.0
    b: float = 1.0
    interactions: Interactions | None = None

    def additive(self, choices: np.ndarray) -> np.ndarray:
        """Logarithm of the raw loss without interactions; `choices` int [..., L] -> float [...]."""
        total = self.table[np.arange(self.table.shape[0]), choices].sum(axis=-1)
        return np.asarray(self.a + self.b * np.log(np.maximum(total, 1e-30)))

    def log_loss(self, choices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of log(raw loss) of each of `choices` int [n, L]."""
        mean = self.additive(choices)
        if self.interactions is None:
            return mean, np.full(len(mean), _UNKNOWN)
        more, spread = self.interactions.predict(choices)
        return mean + more, spread

    def predict(self, choices: np.ndarray) -> np.ndarray:
        """Raw loss of each assignment, the median of what is believed; `choices` int [n, L] -> float [n]."""
        return np.asarray(np.exp(self.log_loss(choices)[0]))

    def fitted(self, choices: np.ndarray, losses: np.ndarray) -> Surrogate:
        """The surrogate after measuring `choices` [n, L] with raw `losses` [n].

        Raises ValueError unless all losses are positive.

        First (a, b) by least squares on logarithms; then one factor per format and one per layer, by
        ridge regression on relative error around factor 1: measured points speak about sums of
        contributions, the prior says that the sensitivities are roughly right, and the ridge weighs them.
        What is left over is given to the interactions.
        """
        if not (losses > 0).all():
            raise ValueError("raw losses are positive: what is not comes from a metric on another scale")
        choices, losses = choices[-_RECENT:], losses[-_RECENT:]
        contributions = self.table[np.arange(self.table.shape[0]), choices]  # [n, L]
        totals = contributions.sum(axis=1)
        use = (totals > 0) & np.isfinite(totals)
        if use.sum() < 4:
            return self
        contributions, totals, losses, choices = contributions[use], totals[use], losses[use], choices[use]
        x, y = np.log(totals), np.log(losses)
        slope = float(np.cov(x, y, bias=True)[0, 1] / max(x.var(), 1e-12)) if x.var() > 0.25 else 1.0
        b = float(np.clip(slope, 0.4, 1.2))
        a = float((y - b * x).mean())
        target = np.exp((y - a) / b)
        columns = self.table.shape[1]
        by_format = np.stack([np.where(choices == c, contributions, 0).sum(axis=1) for c in range(columns)], axis=1)
        design = np.concatenate([by_format, contributions], axis=1) / target[:, None]  # relative error
        seen = design.any(axis=0)
        residual = 1.0 - totals / target
        matrix = design[:, seen]
        gram = matrix.T @ matrix + _RIDGE * np.eye(matrix.shape[1])
        weights = np.zeros(len(seen))
        weights[seen] = np.linalg.solve(gram, matrix.T @ residual)
        factor = 1.0 + weights[None, :columns] + weights[columns:, None]
        corrected = replace(self, table=self.table * np.maximum(factor, _FLOOR), a=a, b=b)
        error = y - corrected.additive(choices)
        corrected = replace(corrected, a=a + float(error.mean()))
        shares = (contributions / totals[:, None]).mean(axis=0)
        return replace(corrected, interactions=Interactions.learned(choices, error - error.mean(), shares))
