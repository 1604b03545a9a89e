"""torch, imported on first use, so that commands which only look up formats or price hardware start without it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class _LazyModule:
    """A proxy that imports its module when an attribute is first read; attributes are cached."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(importlib.import_module(self._name), attribute)
        setattr(self, attribute, value)
        return value


torch = _LazyModule("torch")


def no_grad(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """``torch.no_grad`` as a decorator that does not import torch before the function is called."""

    @wraps(function)
    def called(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with torch.no_grad():
            return function(*args, **kwargs)

    return called
