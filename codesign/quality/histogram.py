"""Every element of a tensor that is too large to keep: its values and how often each occurs.

Up to `EXACT` elements in all are kept as they are. More are counted by their float32 bits rounded to TensorFloat-32 (8
exponent and 10 mantissa bits; NVIDIA, A100 white paper, 2020), half away from zero: no element is left out, none moves
by more than 2**-11 of itself, and zeros, powers of two and the tail keep their place. Counts are integers, so that the
order of calls and the number of threads change nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

EXACT = 1 << 16
_DROPPED = 13  # mantissa bits of float32 beyond those of TF32
_CODES = 1 << (32 - _DROPPED)
_TILE = 1 << 18  # elements at a time: temporaries stay in the processor's cache


class Histogram:
    """Values seen so far, with their counts; ±inf and NaN are the caller's to refuse."""

    def __init__(self) -> None:
        self._values = torch.empty(0)
        self._counts = torch.empty(0, dtype=torch.int64)
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self._waiting_rows = 0

    def add(self, x: Tensor) -> None:
        """Count every element of `x`, of any shape and floating type."""
        flat = x.detach().float().reshape(-1)
        part = (flat.clone(), torch.ones(len(flat), dtype=torch.int64)) if len(flat) <= EXACT else _counted(flat)
        self._waiting.append(part)
        self._waiting_rows += len(part[0])
        if self._waiting_rows > 4 * EXACT:
            self._merge()

    def rows(self) -> tuple[Tensor, Tensor]:
        """(values float32 [n], counts int64 [n]): at most `EXACT` elements, or the TF32 numbers that occurred."""
        self._merge()
        return self._values, self._counts

    def _merge(self) -> None:
        if not self._waiting:
            return
        parts = [(self._values, self._counts), *self._waiting]
        self._values, self._counts = (torch.cat(column) for column in zip(*parts, strict=True))
        if int(self._counts.sum()) > EXACT:
            self._values, self._counts = _joined(self._values, self._counts)
        self._waiting, self._waiting_rows = [], 0


def _codes(flat: Tensor) -> Tensor:
    """TF32 codes, int32 from -2**18: negative numbers come out below zero."""
    return (flat.contiguous().view(torch.int32) + (1 << (_DROPPED - 1))) >> _DROPPED


def _of_codes(codes: Tensor) -> Tensor:
    """Values of TF32 codes; the largest float32 numbers, which round to infinity, stay finite."""
    largest = torch.finfo(torch.float32).max
    return (codes.to(torch.int32) << _DROPPED).view(torch.float32).clamp(-largest, largest)


def _counted(flat: Tensor) -> tuple[Tensor, Tensor]:
    counts = torch.zeros(_CODES, dtype=torch.int64)
    for tile in flat.cpu().split(_TILE):
        counts += torch.bincount(_codes(tile).add_(_CODES // 2), minlength=_CODES)
    codes = counts.nonzero()[:, 0]
    return _of_codes(codes - _CODES // 2), counts[codes]


def _joined(values: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """The same rounded to TF32, one row a value."""
    codes, place = _codes(values).unique(return_inverse=True)
    return _of_codes(codes), torch.zeros(len(codes), dtype=torch.int64).index_add_(0, place, counts)
