"""Fills missing pixels by linear prediction from the surrounding known ones (ordinary kriging)."""

from __future__ import annotations

import functools

import numpy as np
import torch
import torch.nn.functional as F
from scipy.linalg import cho_factor, cho_solve
from torch import Tensor

_RANGE = 30.0  # pixels over which the exponential covariance of photographs falls by 1/e
_NUGGET = 1e-4  # relative variance of pixel noise
_RING = 3  # width of the band of known pixels used for prediction
_MEAN = 1e3  # prior variance of the unknown mean, relative to that of the image


def fill(image: Tensor, mask: Tensor) -> Tensor:
    """`image` [3,H,W] in -1..1 with its missing pixels (mask [1,H,W] is 1) filled.

    Each missing pixel is the best linear prediction from the known pixels within three of the hole,
    under the covariance exp(-distance / 30). The weights depend on the mask alone and are kept.
    """
    hole, ring, weights = _weights(mask.to(torch.uint8).numpy().tobytes(), tuple(mask.shape[1:]))
    flat = image.flatten(1).clone()
    flat[:, hole] = (flat[:, ring] @ weights).clamp(-1, 1)
    return flat.view_as(image)


@functools.lru_cache(maxsize=256)
def _weights(mask: bytes, shape: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """(indices of the hole [h], indices of the ring [r], weights [r, h])."""
    missing = np.frombuffer(mask, dtype=np.uint8).reshape(shape).astype(bool)
    near = F.max_pool2d(torch.from_numpy(missing).float()[None, None], 2 * _RING + 1, 1, _RING)[0, 0].numpy() > 0
    hole, ring = np.argwhere(missing), np.argwhere(near & ~missing)
    covariance = _covariance(ring, ring) + _NUGGET * np.eye(len(ring))
    weights = cho_solve(cho_factor(covariance), _covariance(ring, hole))
    index = [torch.from_numpy(np.ravel_multi_index(points.T, shape)) for points in (hole, ring)]
    return index[0], index[1], torch.from_numpy(weights.astype(np.float32))


def _covariance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    distance = np.sqrt(np.square(a[:, None].astype(np.float64) - b[None]).sum(axis=-1))
    matrix: np.ndarray = np.exp(-distance / _RANGE) + _MEAN
    return matrix
