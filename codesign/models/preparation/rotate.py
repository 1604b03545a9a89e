"""Rotate: the residual stream and the heads' values in a basis in which no channel stands out.

A stream x is read by linear layers and by norms that a rotation commutes with (without gain and shift; a LayerNorm
commutes with rotations that keep the mean), and written by linear layers and embeddings, whose results are added up.
All of that in the basis x R computes the same: writers W x become R^T W, readers W become W R (Ashkboos et al.,
"QuaRot", 2024; R1 and R2 of Liu et al., "SpinQuant", 2024). The values of attention are rotated within each head,
between the layer that makes them and the one that reads the heads. All of it is merged into the weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from codesign.models.preparation.changes import Change, Journal
from codesign.models.preparation.fold import Found, by_input, layers
from codesign.models.preparation.functions import COPIES, DROPOUTS, MOVES
from codesign.models.preparation.hadamard import centred_rotation, random_rotation
from codesign.models.preparation.norms import gains, keeps_rotations
from codesign.models.preparation.record import Call, Op, Record, Ref
from codesign.models.preparation.types import Match, Unmatched
from codesign.models.preparation.walk import Spread, channel_labels, walk
from codesign.models.preparation.weighted import Weighted, exact, of_weight, own_bias, products, weighted

_SEED = 0


def untie(record: Record, root: nn.Module) -> list[tuple[dict[str, nn.Parameter | None], str]]:
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
    values: set[int] = field(default_factory=set)
    writers: list[Weighted] = field(default_factory=list)
    embeddings: list[tuple[nn.Parameter, Op]] = field(default_factory=list)
    readers: list[Weighted] = field(default_factory=list)
    norms: list[Call] = field(default_factory=list)


class _Refused(Exception):
    """Why a stream cannot be rotated."""


def streams(record: Record) -> Found:
    """Rotations of the streams that norms read."""
    found: Found = []
    seen: set[int] = set()
    rotations: dict[int, list[Tensor]] = {}
    all_products = products(record)
    norms = [call for each in gains(record) if each.axis == -1 for call in each.calls]
    for call in norms:
        assert call.input is not None
        if call.input in seen:
            continue
        size = record.values[call.input].shape[-1]
        if size not in rotations:
            rotations[size] = [make(size, _SEED) for make in (random_rotation, centred_rotation)]
        rotation = next((each for each in rotations[size] if keeps_rotations(record, call, each)), rotations[size][0])
        stream = Stream(size)
        try:
            _Search(record, all_products, norms, rotation, stream).follow(call.input)
            found.append(_rotated(record, all_products, stream, rotation))
        except _Refused as reason:
            found.append(Unmatched("rotate", call.name, str(reason)))
        seen |= stream.values
    return found


class _Search:
    """Follows a stream from one of its values to all others."""

    def __init__(
        self, record: Record, found: list[Weighted], norms: list[Call], rotation: Tensor, stream: Stream
    ) -> None:
        self.record, self.rotation, self.stream = record, rotation, stream
        self.writers = {each.output: each for each in found}
        self.readers = {each.op.number: each for each in found}
        self.norms = {call.number: call for call in norms}

    def follow(self, value: int) -> None:
        waiting = [value]
        while waiting:
            value = waiting.pop()
            if value in self.stream.values:
                continue
            self.stream.values.add(value)
            if self.record.values[value].shape[-1:] != (self.stream.size,):
                raise _Refused("the stream that it reads changes its width")
            if value in self.record.outputs:
                raise _Refused("the stream that it reads is an output of the network")
            waiting += self._written(value)
            for number in self.record.readers[value]:
                waiting += self._read(self.record.ops[number], value)

    def _written(self, value: int) -> list[int]:
        """Who made a value: more values of the stream."""
        if value in self.writers:
            product = self.writers[value]
            if product.kind not in ("linear", "matmul"):
                raise _Refused(f"the stream that it reads is written by {product.layer}, which is not linear")
            self.stream.writers.append(product)
            return []
        producer = self.record.values[value].producer
        if producer is None:
            raise _Refused("the stream that it reads begins with an input, buffer or parameter")
        op = self.record.ops[producer]
        if op.name == "embedding":
            weight = next((self.record.values[v].parameter for v in op.reads), None)
            if weight is None:
                raise _Refused("the stream that it reads is written by an embedding that is no parameter")
            self.stream.embeddings.append((weight, op))
            return []
        more = self._joined(op)
        if more is None:
            raise _Refused(f"the stream that it reads is written by {self.record.where(op)}")
        return [v for v in more if v != value]

    def _read(self, op: Op, value: int) -> list[int]:
        """Who reads a value: more values of the stream."""
        call = next((self.norms[number] for number in op.calls if number in self.norms), None)
        if call is not None and call.input == value:
            if call not in self.stream.norms:
                self.stream.norms.append(call)
                self._normed(call)
            return []
        product = self.readers.get(op.number)
        if product is not None and product.input == value:
            if product.kind not in ("linear", "matmul"):
                raise _Refused(f"the stream is read by {product.layer}, which is not linear")
            self.stream.readers.append(product)
            return []
        more = self._joined(op)
        if more is None:
            raise _Refused(f"the stream is read by {self.record.where(op)}")
        return more

    def _normed(self, call: Call) -> None:
        if not keeps_rotations(self.record, call, self.rotation):
            raise _Refused(f"the stream is read by {call.name}, which a rotation changes: it has a gain or shift")
        assert call.output is not None
        spread = walk(
            self.record, {call.output: channel_labels(self.record.values[call.output].shape, -1)}, self.stream.size
        )
        whole = torch.arange(self.stream.size)
        if bool(spread.fixed.any()) or spread.passed - {"move", "scale"} or not spread.sinks:
            raise _Refused(f"the output of {call.name} cannot be rotated: {spread.reason}")
        for sink in spread.sinks:
            if sink.product.kind not in ("linear", "matmul") or not torch.equal(sink.labels, whole):
                raise _Refused(f"{sink.product.layer} reads more or less than the output of {call.name}")
            self.stream.readers.append(sink.product)

    def _joined(self, op: Op) -> list[int] | None:
        """The values of the stream before and behind an op that keeps its basis; None if it does not."""
        shapes = [self.record.values[v].shape for v in (*op.reads, *op.writes)]
        wide = [v for v in op.reads if self.record.values[v].shape[-1:] == (self.stream.size,)]
        if op.name in ("add", "sub"):
            same = len(op.reads) == 2 and {shape[-1:] for shape in shapes} == {(self.stream.size,)}
            return [*op.reads, *op.writes] if same else None
        if len(op.writes) != 1 or len(wide) != 1:
            return None
        if op.name in COPIES | DROPOUTS:
            return [*wide, *op.writes]
        if op.name in ("mul", "div"):  # by a number, or one for each row
            others = [self.record.values[v] for v in op.reads if v not in wide]
            return [*wide, *op.writes] if all(not o.shape or o.shape[-1] == 1 for o in others) else None
        if op.name in MOVES and self._keeps_rows(op, wide[0]):
            return [*wide, *op.writes]
        return None

    def _keeps_rows(self, op: Op, value: int) -> bool:
        """Whether a view takes whole rows: the last axis stays the last."""
        shape, size = self.record.values[op.writes[0]].shape, self.stream.size
        if shape[-1:] != (size,) or op.args[0] != Ref(value):
            return False
        labels = channel_labels(self.record.values[value].shape, -1)
        try:
            found = op.func(labels, *tree_map(_on_cpu, op.args[1:]), **op.kwargs)
        except (RuntimeError, TypeError, ValueError, IndexError):
            return False
        return bool((found == torch.arange(size)).all())


def _on_cpu(leaf: Any) -> Any:
    return leaf.cpu() if isinstance(leaf, Tensor) else leaf


def _rotated(record: Record, found: list[Weighted], stream: Stream, rotation: Tensor) -> Change:
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
            journal.write(parameter, exact(parameter) @ rotation)
        for each in writers:
            journal.write(each.weight, each.rotated_outputs(rotation))
            if each.bias is not None:
                journal.write(each.bias, exact(each.bias) @ rotation)
        for each in readers:
            journal.write(each.weight, each.rotated_inputs(rotation))

    names = [record.names[id(p)][0] for p in embeddings]
    names += dict.fromkeys(each.layer for each in (*writers, *readers))
    return Change(Match("rotate", f"residual stream of {stream.size} channels", tuple(names)), apply)


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
        if mine is None or mine[0].kind not in ("linear", "matmul") or not own_bias(record, mine):
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
        if not _whole_heads(sink.labels, size) or sink.product.kind not in ("linear", "matmul"):
            return Unmatched("rotate", source.layer, f"{sink.product.layer} does not read its heads whole")
    rotation = random_rotation(size, _SEED)

    def apply(journal: Journal) -> None:
        journal.write(source.weight, source.rotated_outputs(_blocks(rotation, chosen.nonzero().flatten(), len(free))))
        if source.bias is not None:
            whole = _blocks(rotation, chosen.nonzero().flatten(), len(free))
            journal.write(source.bias, exact(source.bias) @ whole)
        for sink in spread.weights:
            read = by_input(sink, free.double()) * (sink.labels >= 0)
            places = read.view(-1, size).all(dim=1).nonzero().flatten()
            journal.write(sink.product.weight, sink.product.rotated_inputs(_blocks(rotation, places, len(sink.labels))))

    return Change(Match("rotate", f"values in heads of {size}", (source.layer, *layers(spread))), apply)


def _whole_heads(labels: Tensor, size: int) -> bool:
    """Whether a layer reads heads of a size whole and in order."""
    if len(labels) % size:
        return False
    rows = labels.view(-1, size)
    first = rows[:, :1]
    ordered = (rows == first + torch.arange(size)) & (first % size == 0)
    return bool((ordered | (rows < 0)).all()) and bool(((rows >= 0).all(1) | (rows < 0).all(1)).all())


def _blocks(rotation: Tensor, places: Tensor, channels: int) -> Tensor:
    """The matrix [channels, channels] that rotates some blocks of channels, and no others."""
    found, size = torch.eye(channels, dtype=torch.float64), len(rotation)
    for place in places.tolist():
        found[place * size : (place + 1) * size, place * size : (place + 1) * size] = rotation
    return found
