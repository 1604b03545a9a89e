"""A forward pass in which every operand gets its gradient, whatever the network does for speed or memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils import checkpoint

from codesign.models.streaming import rereading


@contextmanager
def differentiable(module: nn.Module) -> Iterator[None]:
    """Gradients are on, also where the network turns them off; checkpointed parts keep their activations, and weights
    of a network that is larger than memory are read again.

    A checkpoint computes its part again in the backward pass, where nothing intercepts products: a reentrant one would
    give no gradient, another one would find other tensors than it has saved.
    """
    with torch.enable_grad(), rereading(module), _Kept(), _unchecked():
        yield


class _Kept(TorchFunctionMode):
    """Ignores `torch.no_grad` and `torch.set_grad_enabled(False)`."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch._C._set_grad_enabled:
            return func(True)
        return func(*args, **(kwargs or {}))


class _Plain:
    """In place of torch's function of a reentrant checkpoint: it runs its part as it is."""

    @staticmethod
    def apply(function: Callable[..., Any], _preserve: bool, *args: Any) -> Any:
        return function(*args)


def _nothing_saved(*_: Any, **__: Any) -> Iterator[None]:
    """In place of what torch does before and after a part whose checkpoint is not reentrant."""
    yield


@contextmanager
def _unchecked() -> Iterator[None]:
    with (
        patch.object(checkpoint, "CheckpointFunction", _Plain),
        patch.object(checkpoint, "_checkpoint_without_reentrant_generator", _nothing_saved),
    ):
        yield
