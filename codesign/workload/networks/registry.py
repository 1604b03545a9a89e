"""Names of real networks -> their workloads, built on the meta device from a configuration."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from codesign.errors import InputError, nearest
from codesign.workload.types import Workload

_BUILDERS: dict[str, Callable[[], Workload]] = {}


def register(name: str) -> Callable[[Callable[[], Workload]], Callable[[], Workload]]:
    """Decorator: the function builds the workload that is known as `name` (kebab-case)."""

    def add(builder: Callable[[], Workload]) -> Callable[[], Workload]:
        _BUILDERS[name] = builder
        return builder

    return add


def workload_names() -> tuple[str, ...]:
    """Names that `named_workload` knows, sorted."""
    return tuple(sorted(_BUILDERS))


@lru_cache(maxsize=32)
def named_workload(name: str) -> Workload:
    """The workload of a real-scale network, without its weights.

    Raises:
        InputError: unknown name; the nearest known one is offered.
    """
    if name not in _BUILDERS:
        raise InputError(f"unknown network '{name}'{nearest(name, _BUILDERS)}")
    return _BUILDERS[name]()
