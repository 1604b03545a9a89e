"""Runs a task's network on its calibration data, a little of it or all: once to watch it, and again to compare."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from codesign.models.task import Task

ROWS = 2  # samples of the first call that are run
SAMPLED = 1 << 16  # numbers of an output that are compared in a whole run
_FIRST = 64  # calls, after which fewer numbers are compared
_FEWER = SAMPLED // 16


class Enough(BaseException):
    """Ends a calibration run after the first call of its network; no Exception, which a task's own code may catch."""


def first_outputs(
    task: Task, module: nn.Module, *, rows: int | None = ROWS, dtype: torch.dtype | None = None
) -> list[Tensor]:
    """What a module returns in the first call of the calibration run, for its first samples; rows: None for all.

    Where a task never calls the module itself, only parts of it: the outputs of its first batch of evaluation data.
    dtype: of the module; floating-point inputs become such.
    """
    found: list[Tensor] = []

    def few(_module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
        taken: tuple[Any, Any] = tree_map(lambda leaf: _cast(leaf, dtype), _few((args, kwargs), rows))
        return taken

    def enough(_module: nn.Module, _args: object, output: Any) -> None:
        found.extend(leaves(output))
        raise Enough

    # `few` runs before and `enough` after hooks that watch the module
    hooks = (
        module.register_forward_pre_hook(few, with_kwargs=True, prepend=True),
        module.register_forward_hook(enough),
    )
    try:
        with torch.no_grad(), same_noise(task, module), contextlib.suppress(Enough):
            task.calibrate(module)
    finally:
        for hook in hooks:
            hook.remove()
    return found or _first_batch(task, module)


def all_outputs(task: Task, module: nn.Module, *, dtype: torch.dtype | None = None) -> list[Tensor]:
    """What a module returns in the calibration run, as `called_outputs`.

    Where a task never calls the module itself: as `first_outputs`.
    """
    return called_outputs(task, module, dtype=dtype) or _first_batch(task, module)


def called_outputs(task: Task, module: nn.Module, *, dtype: torch.dtype | None = None) -> list[Tensor]:
    """What a module returns in all calls of the calibration run: evenly spread numbers of each output, on the CPU.

    Empty where a task never calls the module itself. The run draws the same noise each time.
    """
    found: list[Tensor] = []
    calls = 0

    def cast(_module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
        taken: tuple[Any, Any] = tree_map(lambda leaf: _cast(leaf, dtype), (args, kwargs))
        return taken

    def keep(_module: nn.Module, _args: object, output: Any) -> None:
        nonlocal calls
        found.extend(_sampled(each, SAMPLED if calls < _FIRST else _FEWER) for each in leaves(output))
        calls += 1

    hooks = [module.register_forward_hook(keep)]
    if dtype is not None:
        hooks.append(module.register_forward_pre_hook(cast, with_kwargs=True))
    try:
        with torch.no_grad(), same_noise(task, module):
            task.calibrate(module)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _first_batch(task: Task, module: nn.Module) -> list[Tensor]:
    with torch.no_grad(), same_noise(task, module):
        return leaves(next(iter(task.batches(module, only=(0,)))))


def _sampled(output: Tensor, most: int) -> Tensor:
    """At most so many numbers of an output, and their copy: the next call may write to it."""
    flat = output.detach().reshape(-1)
    step = -(-flat.numel() // most) or 1
    while step > 1 and math.gcd(step, flat.numel()) > 1:  # or the same columns of all rows
        step += 1
    return flat[::step].clone().cpu()


def _cast(leaf: Any, dtype: torch.dtype | None) -> Any:
    return leaf.to(dtype) if dtype and isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf


@contextlib.contextmanager
def same_noise(task: Task, module: nn.Module) -> Iterator[None]:
    """Networks and samplers may draw noise: it is the same in every run, and the caller's generators stay."""
    devices = {p.device.index or 0 for p in module.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(devices=sorted(devices)):
        torch.manual_seed(task.seed)
        yield


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
