"""torch, imported when it is first used: what only looks formats up or prices hardware answers without it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class _LazyModule:
    """Stands for a module until one of its names is used; each name is looked up once."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(importlib.import_module(self._name), attribute)
        setattr(self, attribute, value)
        return value


torch = _LazyModule("torch")


def no_grad(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """``torch.no_grad`` as a decorator that leaves torch alone until the function is called."""

    @wraps(function)
    def called(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with torch.no_grad():
            return function(*args, **kwargs)

    return called
