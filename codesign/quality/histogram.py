"""Histogram of all elements of tensors that are too large to keep.

Up to `EXACT` elements are stored exactly. More are counted after rounding to TensorFloat-32 (8 exponent and 10 mantissa
bits; NVIDIA A100 architecture, 2020), half away from zero, which changes no element by more than a relative 2**-11 and
leaves zeros and powers of two exact. O(1) memory; counts are integers, so that the result does not depend on the order
of calls or the number of threads.
"""

from __future__ import annotations

import torch
from torch import Tensor

EXACT = 1 << 16  # elements
_DROPPED = 13  # mantissa bits of float32 that TF32 does not have
_CODES = 1 << (32 - _DROPPED)
_TILE = 1 << 18  # elements at a time, so that temporaries stay in cache


class Histogram:
    """Values seen so far with their counts; the caller must not add infinity or NaN."""

    def __init__(self) -> None:
        self._values = torch.empty(0)
        self._counts = torch.empty(0, dtype=torch.int64)
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self._waiting_rows = 0

    def add(self, x: Tensor) -> None:
        """Add every element of `x` (any shape, any floating-point dtype)."""
        flat = x.detach().float().reshape(-1)
        part = (flat.clone(), torch.ones(len(flat), dtype=torch.int64)) if len(flat) <= EXACT else _counted(flat)
        self._waiting.append(part)
        self._waiting_rows += len(part[0])
        if self._waiting_rows > EXACT:
            self.settle()

    def rows(self) -> tuple[Tensor, Tensor]:
        """(values float32 [n], counts int64 [n]): the elements themselves, or the TF32 values that occurred."""
        self.settle()
        return self._values, self._counts

    def settle(self) -> None:
        """Keep each value once; what was added takes more memory until then."""
        if not self._waiting:
            return
        parts = [(self._values, self._counts), *self._waiting]
        self._values, self._counts = (torch.cat(column) for column in zip(*parts, strict=True))
        if int(self._counts.sum()) > EXACT:
            self._values, self._counts = _joined(self._values, self._counts)
        self._waiting, self._waiting_rows = [], 0


def _codes(flat: Tensor) -> Tensor:
    """TF32 codes, int32 from -2**18 to 2**18 - 1; codes of negative numbers are negative."""
    return (flat.contiguous().view(torch.int32) + (1 << (_DROPPED - 1))) >> _DROPPED


def _of_codes(codes: Tensor) -> Tensor:
    """Values of TF32 codes, clamped to the finite float32 range."""
    largest = torch.finfo(torch.float32).max
    return (codes.to(torch.int32) << _DROPPED).view(torch.float32).clamp(-largest, largest)


def _counted(flat: Tensor) -> tuple[Tensor, Tensor]:
    counts = torch.zeros(_CODES, dtype=torch.int64)
    for tile in flat.cpu().split(_TILE):
        counts += torch.bincount(_codes(tile).add_(_CODES // 2), minlength=_CODES)
    codes = counts.nonzero()[:, 0]
    return _of_codes(codes - _CODES // 2), counts[codes]


def _joined(values: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Values rounded to TF32, one row per distinct value, with their counts added."""
    codes, place = _codes(values).unique(return_inverse=True)
    return _of_codes(codes), torch.zeros(len(codes), dtype=torch.int64).index_add_(0, place, counts)
