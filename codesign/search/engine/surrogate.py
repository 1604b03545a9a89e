"""The surrogate model: the posterior of a network's loss under an assignment."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from codesign.search.engine.interactions import Interactions

_RIDGE = 0.3  # ridge penalty: strength of the prior that the sensitivities are right up to a common factor
_FLOOR = 0.05  # least factor by which a correction may shrink a table entry
_UNKNOWN = 0.7  # standard deviation of log(loss) before anything is measured: a factor of two
_RECENT = 1000  # newest measurements that are used


@dataclass(frozen=True)
class Surrogate:
    """Log-normal posterior of a raw loss: log(loss) = a + b * log(sum of table entries) + Gaussian process."""

    table: np.ndarray  # predicted raw loss of each choice in each layer [L, C], inf where not allowed
    a: float = 0.0
    b: float = 1.0  # below 1: saturation, the loss grows slower than the sum of its layers' losses
    interactions: Interactions | None = None  # of the residuals; None before the first fit

    def additive(self, choices: np.ndarray) -> np.ndarray:
        """log(raw loss) without interactions; `choices` int [..., L] -> float [...]."""
        total = self.table[np.arange(self.table.shape[0]), choices].sum(axis=-1)
        return np.asarray(self.a + self.b * np.log(np.maximum(total, 1e-30)))

    def log_loss(self, choices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Posterior mean [n] and standard deviation [n] of log(raw loss) for `choices`, int [n, L]."""
        mean = self.additive(choices)
        if self.interactions is None:
            return mean, np.full(len(mean), _UNKNOWN)
        more, spread = self.interactions.predict(choices)
        return mean + more, spread

    def predict(self, choices: np.ndarray) -> np.ndarray:
        """Posterior median of the raw loss; `choices` int [n, L] -> float [n]."""
        return np.asarray(np.exp(self.log_loss(choices)[0]))

    def fitted(self, choices: np.ndarray, losses: np.ndarray) -> Surrogate:
        """Fit the surrogate to measurements.

        First (a, b) by least squares on logarithms. Then relative corrections of the table, one per format plus one per
        layer, by ridge regression towards 0: O(n (L + C)^2). Last the Gaussian process of the residuals: O(n^3) in the
        points that it uses. With fewer than four usable measurements the surrogate is unchanged.

        Args:
            choices: int [n, L], oldest first.
            losses: raw losses [n].
        Raises:
            ValueError: a loss is not positive.
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
