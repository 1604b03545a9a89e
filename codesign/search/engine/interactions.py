"""What no sum over layers explains: a Gaussian process on the residuals of an additive surrogate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_POINTS = 250  # newest residuals that are used: they lie where the search is now
_LENGTHS = (0.05, 0.2, 0.8)  # of the kernel, in shares of all layers
_NOISES = (0.01, 0.1, 1.0, 10.0)  # share of the residual that no other point tells anything about
_LEAST = 1e-3  # of the variance: two measured points may agree by chance


@dataclass(frozen=True)
class Interactions:
    """Residuals of log(loss) as a Gaussian process over assignments.

    Two assignments are as alike as the layers in which they agree: correlation exp(-d / length) with d the sum of the
    differing layers' `weights`, which add up to 1. Length and noise are those whose leave-one-out predictions are
    likeliest (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, section 5.4.2), so that the
    spread is the one that predictions of measured points turned out to have.
    """

    points: np.ndarray  # int [n, L]
    weights: np.ndarray  # [L]
    length: float
    variance: float
    noise: float
    solved: np.ndarray  # K^-1 residuals, [n]
    vectors: np.ndarray  # of K, [n, n], one a column
    values: np.ndarray  # of K, [n]

    @classmethod
    def learned(cls, choices: np.ndarray, residuals: np.ndarray, shares: np.ndarray) -> Interactions:
        """From residuals [n] of the assignments `choices` [n, L]; shares: of each layer in the loss, [L]."""
        points, values = choices[-_POINTS:], residuals[-_POINTS:]
        weights = 0.5 * shares / max(shares.sum(), 1e-30) + 0.5 / len(shares)
        apart = _distance(points, points, weights)
        likeliest, found = -np.inf, None
        for length in _LENGTHS:
            without_noise, vectors = np.linalg.eigh(np.exp(-apart / length))  # one for all noises
            turned, squares = vectors.T @ values, np.square(vectors)
            for noise in _NOISES:
                eigenvalues = without_noise + noise
                solved, inverse = vectors @ (turned / eigenvalues), squares @ (1 / eigenvalues)
                variance = max(float(values @ solved) / len(values), _LEAST / (1 + noise))
                left_out, spread = solved / inverse, np.sqrt(variance / inverse)
                likelihood = -float(np.log(spread).sum() + 0.5 * np.square(left_out / spread).sum())
                if found is None or likelihood > likeliest:
                    likeliest = likelihood
                    found = cls(points, weights, length, variance, noise, solved, vectors, eigenvalues)
        assert found is not None
        return found

    def predict(self, choices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the residual of a measurement of each of `choices` int [n, L]."""
        alike = np.exp(-_distance(choices, self.points, self.weights) / self.length)
        known = np.square(alike @ self.vectors) @ (1 / self.values)  # k K^-1 k of each
        variance = self.variance * np.maximum(1 + self.noise - known, self.noise)
        return alike @ self.solved, np.sqrt(variance)


def _distance(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted share of differing layers, [n, m], by one product of one-hot rows."""
    count = int(max(a.max(initial=0), b.max(initial=0))) + 1
    scale = np.sqrt(weights)[:, None]
    left, right = (np.float32((np.arange(count) == x[:, :, None]) * scale).reshape(len(x), -1) for x in (a, b))
    return np.asarray(np.clip(1.0 - (left @ right.T).astype(np.float64), 0.0, None))
