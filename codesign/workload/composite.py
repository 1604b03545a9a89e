"""Python functions of torch that are made of products: run with the interceptor's mode on inside of them."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch.overrides import TorchFunctionMode


class Reentered:
    """Push the mode again while torch has popped it for the duration of a call."""

    def __init__(self, mode: TorchFunctionMode) -> None:
        self._mode = mode

    def __enter__(self) -> None:
        TorchFunctionMode.__enter__(self._mode)

    def __exit__(self, *exc: Any) -> None:
        TorchFunctionMode.__exit__(self._mode, *exc)


def _opened(func: Any) -> Callable[..., Any]:
    """`func` without its override check, which would call the mode again in an endless recursion."""
    scope = {**func.__globals__, "has_torch_function": lambda _: False}
    opened = types.FunctionType(func.__code__, scope, func.__name__, func.__defaults__, func.__closure__)
    opened.__kwdefaults__ = func.__kwdefaults__
    return opened


OPENED: dict[Any, Callable[..., Any]] = {F.multi_head_attention_forward: _opened(F.multi_head_attention_forward)}
