"""What a network is tuned on: the arguments of its calls on calibration data, and what the float network returned."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from codesign.errors import InputError
from codesign.models.batches import arrays, rows
from codesign.models.task import Task
from codesign.quality.quantized import opened

_EVERY, _HELD_OUT = 5, 2  # of five samples the third is held out
_SAME = 1e-3  # of the largest output: what the order of sums may change in a call that is made again


@dataclass(frozen=True)
class Call:
    """A call of the network, of `count` samples along the first axis; of one that cannot be divided."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    returned: Any  # by the float network
    count: int = 1

    def taken(self, which: Tensor) -> Call:
        """The same call with some of its samples, by their indices."""
        if self.count == 1:
            return self
        args, kwargs, returned = rows((self.args, dict(self.kwargs), self.returned), which, self.count)
        return Call(args, kwargs, returned, len(which))

    def __call__(self, module: nn.Module) -> Any:
        return module(*self.args, **self.kwargs)


@dataclass(frozen=True)
class Share:
    """Some samples of each of several calls."""

    calls: tuple[Call, ...]
    rows: tuple[Tensor, ...]  # of each call, the indices of its samples; none may be left

    @property
    def count(self) -> int:
        return sum(map(len, self.rows))

    def drawn(self, count: int, generator: torch.Generator) -> Call:
        """At most `count` samples of one call, each sample as likely as any other."""
        place = int(torch.randint(self.count, (1,), generator=generator))
        for call, which in zip(self.calls, self.rows, strict=True):
            if place < len(which):
                return call.taken(which[torch.randperm(len(which), generator=generator)[:count]])
            place -= len(which)
        raise AssertionError

    def batches(self, count: int) -> Iterator[Call]:
        """All samples, at most `count` at a time."""
        for call, which in zip(self.calls, self.rows, strict=True):
            for part in which.split(count) if len(which) else ():
                yield call.taken(part)


@dataclass(frozen=True)
class Samples:
    """The samples of a task's network, a fifth of them held out of the training."""

    training: Share
    held_out: Share
    data: str  # hash of the calls' arguments

    @classmethod
    def of(cls, task: Task) -> Samples:
        """The calls that `Task.practise` makes. Raises InputError if there are not two samples, or if a call that is
        made again returns something else."""
        calls = [_divided(task, call) for call in _recorded(task)]
        if sum(call.count for call in calls) < 2:
            made = "one sample" if calls else "no call of the network itself"
            raise InputError(f"{task.name}: tuning needs calibration data of two samples or more; they hold {made}")
        training, held_out = list[Tensor](), list[Tensor]()
        for number, call in enumerate(calls):
            # steps of a sampler are calls with the same samples: each is held out of all steps, or of none
            places = torch.arange(call.count) if call.count >= _EVERY else torch.full((call.count,), number)
            out = places % _EVERY == _HELD_OUT
            training.append((~out).nonzero().flatten())
            held_out.append(out.nonzero().flatten())
        if not any(map(len, held_out)):
            last = max(place for place, which in enumerate(training) if len(which))
            training[last], held_out[last] = training[last][:-1], training[last][-1:]
        return cls(Share(tuple(calls), tuple(training)), Share(tuple(calls), tuple(held_out)), _hash(calls))


def _recorded(task: Task) -> list[Call]:
    """The calls of a task's network in `Task.practise`; tensors are copied, as a network may write over them."""
    found: list[Call] = []

    def record(_: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], returned: Any) -> None:
        found.append(Call(*tree_map(_copied, (args, dict(kwargs), returned))))

    hook = task.module.register_forward_hook(record, with_kwargs=True)
    try:
        with torch.no_grad(), opened(task.module):
            task.practise(task.module)
    finally:
        hook.remove()
    # what a task makes in inference mode takes part in no backward pass; a copy made outside of it does
    return [Call(*tree_map(_copied, (call.args, dict(call.kwargs), call.returned))) for call in found]


def _copied(leaf: Any) -> Any:
    return leaf.detach().clone() if isinstance(leaf, Tensor) else leaf


def _divided(task: Task, call: Call) -> Call:
    """The call with the number of its samples, if one alone gets from the float network what it got among others."""
    outputs = [leaf for leaf in tree_leaves(call.returned) if isinstance(leaf, Tensor) and leaf.ndim]
    count = len(outputs[0]) if outputs else 0
    inputs = [leaf for leaf in tree_leaves((call.args, dict(call.kwargs))) if isinstance(leaf, Tensor) and leaf.ndim]
    if count > 1 and any(len(leaf) == count for leaf in inputs):
        whole = Call(call.args, call.kwargs, call.returned, count)
        if _repeats(task.module, lambda: whole.taken(torch.tensor([count - 1]))):
            return whole
    if not _repeats(task.module, lambda: call):
        raise InputError(
            f"{task.name}: a call of the network that is made again returns something else (a state or cache that "
            "grows, noise without a seed): it cannot be tuned"
        )
    return call


def _repeats(module: nn.Module, made: Callable[[], Call]) -> bool:
    """Whether the float network returns what the call says."""
    try:
        call = made()
        with torch.no_grad(), opened(module):
            again = tree_leaves(call(module))
    except Exception:  # whatever a network raises on a part of its inputs
        return False
    wanted = tree_leaves(call.returned)
    if len(again) != len(wanted):
        return False
    return all(_close(a, b) for a, b in zip(again, wanted, strict=True) if isinstance(b, Tensor))


def _close(a: Any, b: Tensor) -> bool:
    if not isinstance(a, Tensor) or a.shape != b.shape:
        return False
    if not b.is_floating_point() or not b.numel():
        return torch.equal(a, b)
    limit = _SAME * float(b.abs().max())
    return bool(((a - b).abs() <= limit).all())


def _hash(calls: list[Call]) -> str:
    h = hashlib.sha256()
    for array in arrays([(call.args, dict(call.kwargs)) for call in calls]):
        h.update(f"{array.shape}{array.dtype}".encode())
        h.update(array.tobytes())
    return h.hexdigest()[:24]
