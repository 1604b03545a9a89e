"""Where the channels of a value go: through views, products and functions, up to the layers that read them.

A value's channels are followed by labels: an integer tensor of the value's shape, which holds at each position the
number of the channel that is there, -1 where none of them is. What rearranges values (views, transpositions, slices,
concatenations, copies for the heads that share a value) is run on the labels.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from codesign.models.preparation.functions import COPIES, DROPOUTS, MOVES, POSITIVE, REDUCTIONS, SPATIAL
from codesign.models.preparation.record import Op, Record, Ref
from codesign.models.preparation.weighted import Weighted, weighted

Passage = Literal["move", "scale", "linear", "positive", "product", "attention"]


@dataclass(eq=False)
class Sink:
    """A layer that reads the channels."""

    product: Weighted
    labels: Tensor  # int [in], the channel that each of its input channels is; -1: another value's


@dataclass
class Spread:
    """Where the channels of a value went."""

    channels: int
    fixed: Tensor  # channels that reach what they may not, bool [channels]
    sinks: list[Sink] = field(default_factory=list)
    passages: dict[Passage, Tensor] = field(default_factory=dict)  # kinds of functions, and the channels that pass them
    reasons: list[str] = field(default_factory=list)
    heads: list[int] = field(default_factory=list)  # sizes of the heads of attentions that were passed

    @property
    def free(self) -> Tensor:
        """Channels that reach layers only, and at least one: bool [channels]."""
        read = torch.zeros(self.channels, dtype=torch.bool)
        for sink in self.sinks:
            read[sink.labels[sink.labels >= 0]] = True
        return read & ~self.fixed

    @property
    def passed(self) -> set[Passage]:
        """The kinds of functions that free channels pass on their way."""
        free = self.free
        return {kind for kind, met in self.passages.items() if bool((met & free).any())}

    @property
    def weights(self) -> list[Sink]:
        """One sink for each weight: a weight that is read twice is changed once."""
        return list({id(sink.product.weight): sink for sink in self.sinks}.values())

    @property
    def reason(self) -> str:
        """Why some channels are not free."""
        return self.reasons[0] if self.reasons else "no layer reads its output"

    def stop(self, labels: Tensor, reason: str) -> None:
        """Channels that must stay as they are."""
        self.fixed |= _met(labels, self.channels)
        self.reasons.append(reason)


def _met(labels: Tensor, channels: int) -> Tensor:
    """Which channels there are among labels, bool [channels]."""
    once = labels[tuple(slice(1) if stride == 0 else slice(None) for stride in labels.stride())]
    found = torch.zeros(channels + 1, dtype=torch.bool)
    found[once.flatten().long()] = True  # -1 is the last place
    return found[:-1]


def walk(record: Record, sources: Mapping[int, Tensor], channels: int) -> Spread:
    """Follow channels from values with their labels, up to the layers that read them."""
    return _Walk(record, sources, channels).spread


def channel_labels(shape: tuple[int, ...], axis: int, channels: int | None = None) -> Tensor:
    """Labels of a value whose channels are along an axis."""
    count = shape[axis] if channels is None else channels
    view = [1] * len(shape)
    view[axis] = count
    return torch.arange(count, dtype=torch.int32).view(view).expand(shape)


class _Walk:
    def __init__(self, record: Record, sources: Mapping[int, Tensor], channels: int) -> None:
        self.record = record
        self.labels = dict(sources)
        self.spread = Spread(channels, fixed=torch.zeros(channels, dtype=torch.bool))
        self._waiting: list[int] = []
        self._seen: set[int] = set()
        for value in sources:
            self._arrive(value)
        while self._waiting:
            self._pass(record.ops[heapq.heappop(self._waiting)])
        self._agree()

    def _arrive(self, value: int) -> None:
        if value in self.record.outputs:
            self.spread.stop(self.labels[value], "its output is an output of the network")
        for number in self.record.readers[value]:
            if number not in self._seen:
                self._seen.add(number)
                heapq.heappush(self._waiting, number)

    def _pass(self, op: Op) -> None:
        held = {value: self.labels[value] for value in op.reads if value in self.labels}
        product = weighted(self.record, op)
        if product is not None and list(held) == [product.input]:
            along = _along(held[product.input], product.input_axis)
            if along is None:
                self._stop(op, held, "reads its channels mixed")
            else:
                self.spread.sinks.append(Sink(product, along))
            return
        for value in _yielding(op, held):
            self._stop(op, {value: held.pop(value)}, "multiplies it with itself")
        found = self._through(op, held) if product is None else None
        if found is None:
            self._stop(op, held, _WHY.get(op.name, "does not scale with its input, channel by channel"))
            return
        kind, labels = found
        if len(labels) != len(op.writes) or any(
            tuple(new.shape) != self.record.values[value].shape for new, value in zip(labels, op.writes, strict=True)
        ):
            self._stop(op, held, "changes the channels in a way that is not followed")
            return
        met = self.spread.passages.setdefault(kind, torch.zeros(self.spread.channels, dtype=torch.bool))
        for value, new in zip(op.writes, labels, strict=True):
            there = _met(new, len(met))
            met |= there
            if bool(there.any()):
                self.labels[value] = new
                self._arrive(value)

    def _stop(self, op: Op, held: Mapping[int, Tensor], what: str) -> None:
        for labels in held.values():
            self.spread.stop(labels, f"its output reaches {self.record.where(op)}, which {what}")

    def _through(self, op: Op, held: dict[int, Tensor]) -> tuple[Passage, list[Tensor]] | None:
        """The kind of a function that channels pass, and the labels of what it writes; None if they do not."""
        name = op.name
        if name in MOVES:
            return self._moved(op, held)
        if len(held) != 1 or sum(value in held for value in op.reads) != 1:  # x * x is no product with another value
            return None
        (labels,) = held.values()
        shape = self.record.values[op.writes[0]].shape if op.writes else ()
        if name in COPIES or (name in DROPOUTS and not _training(op)):
            return "move", [labels]
        if name in POSITIVE:
            return "positive", [labels]
        if name == "neg":
            return "scale", [labels]
        if name in ("mul", "multiply") or (name in ("div", "true_divide") and _holds(op.args[0], held)):
            return ("product" if len(op.reads) > 1 else "scale"), [labels.broadcast_to(shape)]
        if name in SPATIAL and len(op.writes) == 1 and _keeps_zero(op):
            return _spatial(op, labels, shape)
        if name in REDUCTIONS:
            return _reduced(op, labels)
        return self._attended(op, labels, held, shape)

    def _moved(self, op: Op, held: Mapping[int, Tensor]) -> tuple[Passage, list[Tensor]] | None:
        # the labels of a value may be strided otherwise than the value, and a view then takes a copy only
        found = self._replayed(op, held) or self._replayed(
            op, {value: each.contiguous() for value, each in held.items()}
        )
        return None if found is None else ("move", found)

    def _replayed(self, op: Op, held: Mapping[int, Tensor]) -> list[Tensor] | None:
        """What an op makes of labels."""

        def labelled(leaf: Any) -> Any:
            if not isinstance(leaf, Ref):
                return leaf.cpu() if isinstance(leaf, Tensor) else leaf
            if leaf.value in held:
                return held[leaf.value][...]  # another tensor, whose shape may be changed in place
            return torch.full(self.record.values[leaf.value].shape, -1, dtype=torch.int32)

        try:
            result = op.func(*tree_map(labelled, op.args), **tree_map(labelled, op.kwargs))
        except (RuntimeError, TypeError, ValueError, IndexError):
            return None
        labels = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        return labels if all(each.dtype == torch.int32 for each in labels) else None

    def _attended(
        self, op: Op, labels: Tensor, held: Mapping[int, Tensor], shape: tuple[int, ...]
    ) -> tuple[Passage, list[Tensor]] | None:
        """Values that are averaged over the keys: the channels of each head stay apart."""
        first, second, third = (_place(op, place, names) for place, names in enumerate(_OPERANDS))
        if op.name == "scaled_dot_product_attention":
            if not (_holds(third, held) and not _holds(first, held) and not _holds(second, held)):
                return None
            if not _constant(labels, -2):
                return None
            kept = labels[..., :1, :]
            if kept.ndim > 2 and kept.shape[-3] != shape[-3]:
                kept = kept.repeat_interleave(shape[-3] // kept.shape[-3], dim=-3)
            self.spread.heads.append(shape[-1])
            return "attention", [kept.expand(shape)]
        if op.name in ("matmul", "bmm") and len(op.reads) == 2:
            # the other operand is the probabilities, right or left
            axis = -2 if _holds(second, held) else -1
            if _constant(labels, axis):
                kept = labels.narrow(axis, 0, 1)
                self.spread.heads.append(kept.shape[-1] if axis == -2 else kept.shape[-2])
                return "attention", [kept.broadcast_to(shape)]
        return None

    def _agree(self) -> None:
        """A weight that is read more than once must read the same channels each time."""
        for sink in self.spread.weights:
            weight = sink.product.weight
            mine = [each for each in self.spread.sinks if each.product.weight is weight]
            elsewhere = set(self.record.uses(weight)) - {each.product.op.number for each in mine}
            if elsewhere:
                where = self.record.where(self.record.ops[min(elsewhere)])
                self.spread.stop(sink.labels, f"the weight of {sink.product.layer}, which reads it, is used by {where}")
            for each in mine:
                if not torch.equal(each.labels, sink.labels):
                    self.spread.stop(each.labels, f"{sink.product.layer} reads other channels in another call")
                    self.spread.stop(sink.labels, f"{sink.product.layer} reads other channels in another call")


_WHY = dict.fromkeys(("add", "sub", "addcmul"), "adds another value")
_OPERANDS = (("query", "input"), ("key", "other", "mat2"), ("value",))


def _yielding(op: Op, held: Mapping[int, Tensor]) -> list[int]:
    """Values whose channels must stay, so that others of the same layer pass: query and key, one of two factors."""
    refs = [_place(op, place, names) for place, names in enumerate(_OPERANDS)]
    given = [ref.value if _holds(ref, held) else None for ref in refs]
    if op.name == "scaled_dot_product_attention" and given[2] is not None and given[2] not in given[:2]:
        return [value for value in dict.fromkeys(given[:2]) if value is not None]
    if op.name == "mul" and None not in given[:2] and given[0] != given[1]:
        return [value for value in given[:1] if value is not None]
    return []


def _place(op: Op, place: int, names: tuple[str, ...]) -> Any:
    if place < len(op.args):
        return op.args[place]
    return next((op.kwargs[name] for name in names if name in op.kwargs), None)


def _holds(ref: Any, held: Mapping[int, Tensor]) -> bool:
    return isinstance(ref, Ref) and ref.value in held


def _constant(labels: Tensor, axis: int) -> bool:
    return bool((labels == labels.narrow(axis, 0, 1)).all())


def _along(labels: Tensor, axis: int) -> Tensor | None:
    """The labels along an axis, int64 [n]; None if they change along another one."""
    moved = labels.movedim(axis, -1)
    first = moved.reshape(-1, moved.shape[-1])[0] if moved.numel() else moved.flatten()
    return first.long() if bool((moved == first).all()) else None


def _training(op: Op) -> bool:
    """Whether a dropout drops anything."""
    given = op.args[2] if len(op.args) > 2 else op.kwargs.get("training", True)
    return bool(given) and bool(op.args[1] if len(op.args) > 1 else op.kwargs.get("p", 0.5))


def _keeps_zero(op: Op) -> bool:
    """Whether what is added around a map scales with it."""
    if op.name != "pad":
        return True
    mode = op.args[2] if len(op.args) > 2 else op.kwargs.get("mode", "constant")
    value = op.args[3] if len(op.args) > 3 else op.kwargs.get("value")
    return mode != "constant" or not value


def _spatial(op: Op, labels: Tensor, shape: tuple[int, ...]) -> tuple[Passage, list[Tensor]] | None:
    """Pooling and interpolation of maps [N, C, ...]."""
    if labels.ndim < 3 or labels.shape[:2] != shape[:2]:
        return None
    kept = labels[(slice(None), slice(None), *(slice(1) for _ in shape[2:]))]
    passage: Passage = "positive" if SPATIAL[op.name] == "positive" else "linear"
    return (passage, [kept.expand(shape)]) if bool((labels == kept).all()) else None


def _reduced(op: Op, labels: Tensor) -> tuple[Passage, list[Tensor]] | None:
    """Means and sums along axes on which the channel stays the same."""
    dims = op.args[1] if len(op.args) > 1 else op.kwargs.get("dim")
    keep = op.args[2] if len(op.args) > 2 else op.kwargs.get("keepdim", False)
    if dims is None or not isinstance(keep, bool):
        return None
    low, high = labels.amin(dims, keepdim=keep), labels.amax(dims, keepdim=keep)
    passage: Passage = "positive" if REDUCTIONS[op.name] == "positive" else "linear"
    return (passage, [low]) if torch.equal(low, high) else None
