"""Memory that one result after the other is computed in: new memory is in no cache, and has to be mapped first."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor


class Rooms:
    """Rooms by name, each as large as the largest tensor that was in it; the next tensor in a room ends the last."""

    def __init__(self) -> None:
        self._rooms: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """An uninitialized, contiguous tensor of this shape, with the dtype and device of `like`."""
        key, size = (name, like.dtype, like.device), prod(shape)
        room = self._rooms.get(key)
        if room is None or room.numel() < size:
            with torch.inference_mode(False):  # the next tensor may be computed outside of the caller's inference mode
                room = self._rooms[key] = torch.empty(size, dtype=like.dtype, device=like.device)
        return room[:size].view(shape)
