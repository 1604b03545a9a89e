"""Rotate: the residual stream and the heads' values in a basis in which no channel stands out.

A stream x is read by linear layers and by norms that a rotation commutes with (without gain and shift; a LayerNorm
commutes with rotations that keep the mean), and written by linear layers and embeddings, whose results are added up.
All of that in the basis x R computes the same: writers W x become R^T W, readers W become W R (Ashkboos et al.,
"QuaRot", 2024; R1 and R2 of Liu et al., "SpinQuant", 2024). The values of attention are rotated within each head,
between the layer that makes them and the one that reads the heads. All of it is merged into the weights.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from codesign.models.preparation.changes import Change, Journal
from codesign.models.preparation.fold import Found, layers
from codesign.models.preparation.functions import COPIES, DROPOUTS, MOVES
from codesign.models.preparation.hadamard import Rotation, centred_rotation, random_rotation
from codesign.models.preparation.norms import Gain, gains, keeps_rotations
from codesign.models.preparation.record import Call, Op, Record, Ref
from codesign.models.preparation.types import Match, Unmatched
from codesign.models.preparation.walk import Spread, channel_labels, walk
from codesign.models.preparation.weighted import Weighted, exact, of_weight, own_bias, products, rotated, weighted

_SEED = 0


def untie(record: Record) -> list[tuple[dict[str, nn.Parameter | None], str]]:
    """Where linear layers hold a weight that is an embedding too: (parameters of the module, key)."""
    found = []
    for op in record.ops:
        product = weighted(record, op)
        call = record.module_of(op)
        if product is None or call is None:
            continue
        if not any(record.ops[number].name == "embedding" for number in record.uses(product.weight)):
            continue
        place = call.module._parameters
        found += [(place, key) for key, parameter in place.items() if parameter is product.weight]
    return found


@dataclass(eq=False)
class Stream:
    """Values that are added up, and who writes and reads them."""

    size: int
    values: dict[int, int] = field(default_factory=dict)  # and the axis of their channels
    writers: list[Weighted] = field(default_factory=list)
    embeddings: list[tuple[nn.Parameter, Op]] = field(default_factory=list)
    readers: list[Weighted] = field(default_factory=list)
    norms: list[Call] = field(default_factory=list)


class _Refused(Exception):
    """Why a stream cannot be rotated."""


def folded(record: Record, folds: Found) -> set[str]:
    """Names of the norms that have neither gain nor shift once they are folded."""
    whole = {each.name for each in gains(record) if each.shift is None}
    found = [each.match for each in folds if isinstance(each, Change)]
    return {match.modules[0] for match in found if match.modules[0] in whole or "shift" in match.what}


def streams(record: Record, bare: Collection[str] = ()) -> Found:
    """Rotations of the streams that norms read; bare: names of norms whose gain and shift will be folded before."""
    found: Found = []
    seen: set[int] = set()
    rotations: dict[int, list[Rotation]] = {}
    all_products = products(record)
    norms = {call.number: each for each in gains(record) if each.axis == -1 for call in each.calls}
    for number, norm in norms.items():
        call = record.calls[number]
        assert call.input is not None
        if call.input in seen:
            continue
        size = record.values[call.input].shape[-1]
        if size not in rotations:
            rotations[size] = [make(size, _SEED) for make in (random_rotation, centred_rotation)]
        kept = (r for r in rotations[size] if keeps_rotations(record, norm, call, r, bare=norm.name in bare))
        rotation = next(kept, rotations[size][0])
        stream = Stream(size)
        try:
            _Search(record, all_products, norms, bare, rotation, stream).follow(call.input)
            found.append(_rotated(record, all_products, stream, rotation))
        except _Refused as reason:
            found.append(Unmatched("rotate", norm.name, str(reason)))
        seen |= set(stream.values)
    return found


class _Search:
    """Follows a stream from one of its values to all others; each has its channels along an axis from its end."""

    def __init__(
        self,
        record: Record,
        found: list[Weighted],
        norms: Mapping[int, Gain],
        bare: Collection[str],
        rotation: Rotation,
        stream: Stream,
    ) -> None:
        self.record, self.rotation, self.stream = record, rotation, stream
        self.writers = {each.output: each for each in found}
        self.readers = {each.op.number: each for each in found}
        self.norms, self.bare = norms, bare

    def follow(self, value: int) -> None:
        waiting = [(value, -1)]
        while waiting:
            value, axis = waiting.pop()
            if value in self.stream.values:
                if self.stream.values[value] != axis:
                    raise _Refused("the stream that it reads has its channels along two axes")
                continue
            self.stream.values[value] = axis
            if value in self.record.outputs:
                raise _Refused("the stream that it reads is an output of the network")
            waiting += self._written(value, axis)
            for number in self.record.readers[value]:
                waiting += self._read(self.record.ops[number], value, axis)

    def _written(self, value: int, axis: int) -> list[tuple[int, int]]:
        """Who made a value: more values of the stream."""
        if value in self.writers:
            product = self.writers[value]
            if not product.turns or product.output_axis != axis:
                raise _Refused(
                    f"the stream that it reads is written by {product.layer}, whose outputs cannot be rotated"
                )
            self.stream.writers.append(product)
            return []
        producer = self.record.values[value].producer
        if producer is None:
            raise _Refused("the stream that it reads begins with an input, buffer or parameter")
        op = self.record.ops[producer]
        if op.name == "embedding" and axis == -1:
            weight = next((self.record.values[v].parameter for v in op.reads), None)
            if weight is None:
                raise _Refused("the stream that it reads is written by an embedding that is no parameter")
            self.stream.embeddings.append((weight, op))
            return []
        more = self._joined(op, value, axis)
        if more is None:
            raise _Refused(f"the stream that it reads is written by {self.record.where(op)}")
        return more

    def _read(self, op: Op, value: int, axis: int) -> list[tuple[int, int]]:
        """Who reads a value: more values of the stream."""
        call = next((self.record.calls[number] for number in op.calls if number in self.norms), None)
        if call is not None and call.input == value and axis == -1:
            if call not in self.stream.norms:
                self.stream.norms.append(call)
                self._normed(call)
            return []
        product = self.readers.get(op.number)
        if product is not None and product.input == value:
            if not product.turns or product.input_axis != axis:
                raise _Refused(f"the stream is read by {product.layer}, whose inputs cannot be rotated")
            self.stream.readers.append(product)
            return []
        more = self._joined(op, value, axis)
        if more is None:
            raise _Refused(f"the stream is read by {self.record.where(op)}")
        return more

    def _normed(self, call: Call) -> None:
        norm = self.norms[call.number]
        if not keeps_rotations(self.record, norm, call, self.rotation, bare=norm.name in self.bare):
            raise _Refused(f"the stream is read by {call.name}, which a rotation changes: it has a gain or shift")
        assert call.output is not None
        shape = self.record.values[call.output].shape
        spread = walk(self.record, {call.output: channel_labels(shape, -1)}, self.stream.size)
        whole = torch.arange(self.stream.size)
        if bool(spread.fixed.any()) or spread.passed - {"move", "scale"} or not spread.sinks:
            raise _Refused(f"the output of {call.name} cannot be rotated: {spread.reason}")
        for sink in spread.sinks:
            if not sink.product.turns or not torch.equal(sink.labels, whole):
                raise _Refused(f"{sink.product.layer} reads more or less than the output of {call.name}")
            self.stream.readers.append(sink.product)

    def _joined(self, op: Op, value: int, axis: int) -> list[tuple[int, int]] | None:
        """The values of the stream around an op that keeps its basis, and their axes; None if it does not."""
        shapes = {v: self.record.values[v].shape for v in (*op.reads, *op.writes)}
        size = self.stream.size
        wide = {v for v, shape in shapes.items() if len(shape) >= -axis and shape[axis] == size}
        if op.name in ("add", "sub"):
            return [(v, axis) for v in wide] if len(op.reads) == 2 and len(wide) == len(shapes) else None
        if len(op.writes) != 1:
            return None
        if op.name in COPIES | DROPOUTS and len(shapes) == 2 == len(wide):
            return [(v, axis) for v in wide]
        if op.name in ("mul", "div"):  # by a number, or one for all channels
            others = [shape for v, shape in shapes.items() if v not in wide]
            one = all(len(shape) < -axis or shape[axis] == 1 for shape in others)
            return [(v, axis) for v in wide] if one and len(wide) == 2 and op.writes[0] in wide else None
        if op.name in MOVES and len(op.reads) == 1 and op.args[0] == Ref(op.reads[0]):
            ends = (op.reads[0], op.writes[0])
            for axes in self._moved(op):
                if axes[ends.index(value)] == axis:
                    return list(zip(ends, axes, strict=True))
        return None

    def _moved(self, op: Op) -> Iterator[tuple[int, int]]:
        """Along which axes a view may have the channels, before and behind it."""
        shape, size = self.record.values[op.reads[0]].shape, self.stream.size
        for before in range(-len(shape), 0):
            if shape[before] != size:
                continue
            try:
                found = op.func(channel_labels(shape, before), *tree_map(_on_cpu, op.args[1:]), **op.kwargs)
            except (RuntimeError, TypeError, ValueError, IndexError):
                continue
            for behind in range(-found.ndim, 0):
                if found.shape[behind] == size and bool((found == channel_labels(found.shape, behind)).all()):
                    yield before, behind


def _on_cpu(leaf: Any) -> Any:
    return leaf.cpu() if isinstance(leaf, Tensor) else leaf


def _rotated(record: Record, found: list[Weighted], stream: Stream, rotation: Rotation) -> Change:
    """The change of a stream; raises `_Refused` where a weight of it has another use."""
    if not stream.writers and not stream.embeddings:
        raise _Refused("nothing writes the stream that it reads")
    writers = _unique(record, found, stream.writers)
    readers = _unique(record, found, stream.readers)
    embeddings = list({id(weight): weight for weight, _ in stream.embeddings}.values())
    for weight in embeddings:
        if set(record.uses(weight)) - {op.number for _, op in stream.embeddings}:
            raise _Refused(
                f"the embedding {record.names[id(weight)][0]}, which writes the stream, is used elsewhere too"
            )
    for each in writers:
        mine = of_weight(record, found, each.weight)
        if mine is None or not own_bias(record, mine):
            raise _Refused(f"the bias of {each.layer} is used elsewhere")

    def apply(journal: Journal) -> None:
        for parameter in embeddings:
            journal.write(parameter, rotated(exact(parameter), rotation))
        for each in writers:
            journal.write(each.weight, each.rotated_outputs(rotation))
            if each.bias is not None:
                journal.write(each.bias, rotated(exact(each.bias), rotation))
        for each in readers:
            journal.write(each.weight, each.rotated_inputs(rotation))

    names = [record.names[id(p)][0] for p in embeddings]
    names += dict.fromkeys(each.layer for each in (*writers, *readers))
    return Change(Match("rotate", f"residual stream of {stream.size} channels", tuple(names)), apply, stream.size)


def _unique(record: Record, found: list[Weighted], products: list[Weighted]) -> list[Weighted]:
    """One product for each weight, all of whose uses are among these."""
    numbers = {each.op.number for each in products}
    chosen = {id(each.weight): each for each in products}
    for each in chosen.values():
        if set(record.uses(each.weight)) - numbers:
            raise _Refused(f"the weight of {each.layer} is also used elsewhere")
    return list(chosen.values())


def heads(record: Record) -> Found:
    """Rotations of the values within each head of an attention, from the layer that makes them to that which reads."""
    found: Found = []
    all_products = products(record)
    for weight in {id(each.weight): each.weight for each in all_products}.values():
        mine = of_weight(record, all_products, weight)
        if mine is None or not mine[0].turns or not own_bias(record, mine):
            continue
        channels = mine[0].sizes[1]
        spread = walk(
            record,
            {p.output: channel_labels(record.values[p.output].shape, p.output_axis) for p in mine},
            channels,
        )
        if "attention" not in spread.passed:
            continue
        found.append(_rotated_heads(mine, spread))
    return found


def _rotated_heads(mine: list[Weighted], spread: Spread) -> Change | Unmatched:
    source, sizes = mine[0], set(spread.heads)
    size = max(sizes)
    free = spread.free
    if len(sizes) != 1 or len(free) % size or spread.passed - {"move", "scale", "attention"}:
        return Unmatched("rotate", source.layer, "its heads do not go right to a layer")
    blocks = free.view(-1, size)
    chosen = blocks.all(dim=1)
    if not bool(chosen.any()):
        return Unmatched("rotate", source.layer, spread.reason)
    for sink in spread.weights:
        if not _whole_heads(sink.labels, size) or not sink.product.turns:
            return Unmatched("rotate", source.layer, f"{sink.product.layer} does not read its heads whole")
    rotation, rows = random_rotation(size, _SEED), chosen.nonzero().flatten().tolist()

    def apply(journal: Journal) -> None:
        journal.write(source.weight, source.rotated_outputs(rotation, rows))
        if source.bias is not None:
            journal.write(source.bias, rotated(exact(source.bias), rotation, rows))
        for sink in spread.weights:
            first = sink.labels.view(-1, size)[:, 0]
            read = (first >= 0) & chosen[first.clamp_min(0) // size]
            journal.write(sink.product.weight, sink.product.rotated_inputs(rotation, read.nonzero().flatten().tolist()))

    return Change(
        Match("rotate", f"values in heads of {size}", (source.layer, *layers(spread))), apply, spread.channels
    )


def _whole_heads(labels: Tensor, size: int) -> bool:
    """Whether a layer reads heads of a size whole and in order."""
    if len(labels) % size:
        return False
    rows = labels.view(-1, size)
    first = rows[:, :1]
    ordered = (rows == first + torch.arange(size)) & (first % size == 0)
    return bool((ordered | (rows < 0)).all()) and bool(((rows >= 0).all(1) | (rows < 0).all(1)).all())
