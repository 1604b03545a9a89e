"""Whether a tensor still holds what it held: the same object may have been written over in place."""

from __future__ import annotations

from torch import Tensor

Seen = tuple[Tensor, int | None]
"""A tensor and the count of writes to it; None of a tensor that torch does not count for (made in inference mode)."""


def seen(x: Tensor) -> Seen:
    """`x` as it is now. It is kept alive, so that no other tensor takes its place."""
    return x, None if x.is_inference() else x._version


def unchanged(before: Seen, x: Tensor) -> bool:
    """Whether `x` is the tensor of before, and nothing was written to it or to a view of it."""
    return before[0] is x and before[1] is not None and before[1] == x._version
