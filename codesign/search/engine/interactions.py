"""Interactions of layers: a Gaussian process on the residuals of the additive surrogate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_POINTS = 250  # newest residuals that are used, which lie where the search is now
_LENGTHS = (0.05, 0.2, 0.8)  # length scales to choose from, in weighted shares of differing layers
_NOISES = (0.01, 0.1, 1.0, 10.0)  # noise variances to choose from, over the signal's variance
_LEAST = 1e-3  # smallest variance of signal and noise: a few points may agree by chance


@dataclass(frozen=True)
class Interactions:
    """Gaussian process of the residuals of log(loss) over assignments.

    The kernel is exponential in the weighted Hamming distance d: correlation exp(-d / length), where d is the sum of
    the weights of the layers that differ. Length scale and noise maximise the leave-one-out predictive likelihood
    over a grid (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, section 5.4.2), so that the
    predicted spread is that of leave-one-out errors. Fitting is O(n^3), n <= _POINTS: one eigendecomposition of the
    kernel matrix K per length scale serves all noises.
    """

    points: np.ndarray  # training assignments, int [n, L]
    weights: np.ndarray  # of layers in the distance, [L], with sum 1
    length: float
    variance: float  # of the signal
    noise: float  # variance of the noise over that of the signal
    solved: np.ndarray  # K^-1 residuals, [n]
    vectors: np.ndarray  # eigenvectors of K as columns, [n, n]
    values: np.ndarray  # eigenvalues of K, [n]

    @classmethod
    def learned(cls, choices: np.ndarray, residuals: np.ndarray, shares: np.ndarray) -> Interactions:
        """Fit the process.

        Args:
            choices: assignments, int [n, L], oldest first.
            residuals: of log(loss), [n].
            shares: share of each layer in the loss, [L]; half of a layer's weight follows it, half is the same for all.
        """
        points, values = choices[-_POINTS:], residuals[-_POINTS:]
        weights = 0.5 * shares / max(shares.sum(), 1e-30) + 0.5 / len(shares)
        apart = _distance(points, points, weights)
        likeliest, found = -np.inf, None
        for length in _LENGTHS:
            without_noise, vectors = np.linalg.eigh(np.exp(-apart / length))
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
        """Posterior mean [n] and standard deviation [n], noise included, of the residual of `choices`, int [n, L]."""
        alike = np.exp(-_distance(choices, self.points, self.weights) / self.length)
        known = np.square(alike @ self.vectors) @ (1 / self.values)  # k K^-1 k of each
        variance = self.variance * np.maximum(1 + self.noise - known, self.noise)
        return alike @ self.solved, np.sqrt(variance)


def _distance(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted Hamming distances [n, m] of int [n, L] and [m, L], by one matrix product of one-hot rows."""
    count = int(max(a.max(initial=0), b.max(initial=0))) + 1
    scale = np.sqrt(weights)[:, None]
    left, right = (np.float32((np.arange(count) == x[:, :, None]) * scale).reshape(len(x), -1) for x in (a, b))
    return np.asarray(np.clip(1.0 - (left @ right.T).astype(np.float64), 0.0, None))
