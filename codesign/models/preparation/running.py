"""Runs a task's network on a little of its calibration data: once to watch it, and again to compare."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from codesign.models.task import Task

ROWS = 2  # samples of the first call that are run


class _Enough(BaseException):
    """Ends a calibration run after the first call of its network; no Exception, which a task's own code may catch."""


def first_outputs(
    task: Task, module: nn.Module, *, rows: int | None = ROWS, dtype: torch.dtype | None = None
) -> list[Tensor]:
    """What a module returns in the first call of the calibration run, for its first samples; rows: None for all.

    Where a task never calls the module itself, only parts of it: the outputs of its first batch of evaluation data.
    dtype: of the module; floating-point inputs become such.
    """
    found: list[Tensor] = []

    def few(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        def cast(leaf: Any) -> Any:
            return leaf.to(dtype) if dtype and isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf

        taken: tuple[Any, Any] = tree_map(cast, _few((args, kwargs), rows))
        return taken

    def enough(_module: nn.Module, _args: object, output: Any) -> None:
        found.extend(leaves(output))
        raise _Enough

    # `few` runs before and `enough` after hooks that watch the module
    hooks = (
        module.register_forward_pre_hook(few, with_kwargs=True, prepend=True),
        module.register_forward_hook(enough),
    )
    try:
        with torch.no_grad(), contextlib.suppress(_Enough):
            task.calibrate(module)
    finally:
        for hook in hooks:
            hook.remove()
    if found:
        return found
    with torch.no_grad():
        return leaves(next(iter(task.batches(module, only=(0,)))))


def _few(arguments: Any, rows: int | None) -> Any:
    """The first samples of a call's arguments; tensors of other lengths stay whole."""
    lengths = [len(leaf) for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor) and leaf.ndim > 1]
    if not lengths or rows is None:
        return arguments
    count = lengths[0]
    return tree_map(
        lambda leaf: leaf[:rows] if isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == count else leaf, arguments
    )


def leaves(found: Any) -> list[Tensor]:
    """The tensors in nested mappings and sequences, or in an object's attributes; a cache in them is no output."""
    if not isinstance(found, (Tensor, Mapping, tuple, list)):
        found = getattr(found, "__dict__", {})
    if isinstance(found, Tensor):
        return [found]
    inside = found.values() if isinstance(found, Mapping) else found
    return [x for each in inside if isinstance(each, (Tensor, Mapping, tuple, list)) for x in leaves(each)]


def difference(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    """Largest difference of the outputs of two runs over the largest output; infinite where they do not compare."""
    if len(first) != len(second):
        return float("inf")
    worst = 0.0
    for a, b in zip(first, second, strict=True):
        if a.shape != b.shape:
            return float("inf")
        if not a.is_floating_point() or not a.numel():
            continue
        there = a.isfinite()
        if not torch.equal(there, b.isfinite()):
            return float("inf")
        whole = bool(there.all())
        a, b = (a, b) if whole else (a[there], b[there])
        if a.numel():
            worst = max(worst, float((a - b).abs().max()) / (float(a.abs().max()) or 1.0))
    return worst


def attempt(run: Callable[[], list[Tensor]]) -> list[Tensor] | None:
    """Outputs; None where the network does not run."""
    try:
        return run()
    except Exception:  # whatever a network of somebody else raises
        return None
