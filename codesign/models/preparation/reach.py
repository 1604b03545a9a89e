"""Which parameters the calibration run reaches, in which calls: a record must hold all paths of the network.

A network may take another path in a later call, or for other samples (experts, branches by the time step). A change
that is right on the recorded path is wrong on one that was not seen, so the record is extended to calls that reach
all parameters that any call reaches, and no change is made that a parameter which never ran could notice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from codesign.models.preparation.functions import HARMLESS
from codesign.models.preparation.record import Record, Recorder, name_of
from codesign.models.preparation.running import Enough, first_outputs, same_noise
from codesign.models.task import Task

Unreached = dict[str, tuple[int, ...]]  # names of parameters that never ran, and their shapes

_PROPERTIES = frozenset(("shape", "dtype", "device", "ndim", "grad", "is_cuda", "layout"))  # tell nothing of the values


class Paths:
    """The part of a calibration run that is recorded: the first samples of its first call, or whole calls of it."""

    def __init__(self, task: Task, rows: int | None) -> None:
        self.task, self.rows = task, rows
        self._known = False
        self._calls: tuple[int, ...] | None = None  # None: the first samples of the first call

    def record(self, module: nn.Module) -> Record:
        """The data flow of the network; the first time, the calls to be recorded are chosen."""
        found = self._recorded(module)
        if not self._known:
            self._known = True
            left = set(unreached(found, module))
            if left:
                self._calls = _calls_that_reach(self.task, module, left)
                found = found if self._calls is None else self._recorded(module)
        return found

    def _recorded(self, module: nn.Module) -> Record:
        with Recorder(module, self._calls) as recorder:
            if self._calls is None:
                first_outputs(self.task, module, rows=self.rows)
            else:
                _run(self.task, module, until=max(self._calls))
        return recorder.record


def unreached(record: Record, module: nn.Module) -> Unreached:
    """Parameters that nothing in a record reads."""
    return {name: tuple(p.shape) for name, p in module.named_parameters() if p.numel() and not record.uses(p)}


def noticing(left: Unreached, channels: int) -> str | None:
    """The name of a parameter that never ran and whose sizes allow that it reads or writes such channels."""
    return next((name for name, shape in left.items() if channels and _fits(shape, channels)), None)


def _fits(shape: tuple[int, ...], channels: int) -> bool:
    """Whether channels may be those of a weight: all of them, or several times or some of them after a reshape."""
    if len(shape) < 2:
        return shape == (channels,)
    return any(size > 1 and (size % channels == 0 or channels % size == 0) for size in shape[:2])


def _calls_that_reach(task: Task, module: nn.Module, wanted: Collection[str]) -> tuple[int, ...] | None:
    """Few calls of the network that read all parameters that any does; None if none reads one that is wanted."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    with _Watch(names) as watch:
        _run(task, module, after=watch.next)
    reads = watch.reads
    everything = set[str]().union(*reads)
    if not everything & set(wanted):
        return None
    chosen, seen = list[int](), set[str]()
    while seen != everything:
        best = max(range(len(reads)), key=lambda number: len(reads[number] - seen))
        chosen.append(best)
        seen |= reads[best]
    return tuple(sorted(chosen))


class _Watch(TorchFunctionMode):
    """Names of the parameters that are read up to the end of each call of the network."""

    def __init__(self, names: Mapping[int, str]) -> None:
        super().__init__()
        self.names = names
        self.reads: list[set[str]] = [set()]

    def next(self) -> bool:
        """Another call begins; returns whether all parameters were read."""
        done = len(set[str]().union(*self.reads)) == len(self.names)
        self.reads.append(set())
        return done

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if name_of(func) not in HARMLESS | _PROPERTIES:
            known = (self.names.get(id(leaf)) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
            self.reads[-1].update(name for name in known if name is not None)
        return result


def _run(task: Task, module: nn.Module, *, until: int | None = None, after: Callable[[], bool] = lambda: False) -> None:
    """The calibration run, up to a call of the network, or to one after which there is nothing more to see."""
    count = 0

    def called(*_: object) -> None:
        nonlocal count
        count += 1
        if after() or count - 1 == until:
            raise Enough

    handle = module.register_forward_hook(called)
    try:
        with torch.no_grad(), same_noise(task, module), contextlib.suppress(Enough):
            task.calibrate(module)
    finally:
        handle.remove()
