"""Tables of constants as logic: a decision diagram per output bit, whose nodes are shared between bits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import permutations

from codesign.hardware.rtl.emit.expressions import ONE, ZERO, Expression, Value, concatenation
from codesign.hardware.rtl.emit.verilog import Module, Net

Truth = tuple[bool, ...]  # of a function, by its remaining inputs; the first half where the first of them is 0


def lookup(m: Module, index: Net, table: Sequence[int], width: int) -> Net:
    """``table[index]``, of `width` bits; the table has an entry for every index."""
    order, functions = _ordered(tuple(table), index.width, width)
    inputs = [index.bit(place) for place in order]
    known: dict[Truth, Value] = {}
    return m.wire(width, concatenation([_emitted(m, inputs, each, known) for each in functions]), "looked_up")


@lru_cache(maxsize=4096)
def _ordered(table: tuple[int, ...], inputs: int, width: int) -> tuple[tuple[int, ...], tuple[Truth, ...]]:
    """The order of index bits with the fewest nodes, and every output bit as a function of them in this order."""
    best: tuple[int, tuple[int, ...], tuple[Truth, ...]] | None = None
    for order in permutations(range(inputs)):
        places = [sum((at >> (inputs - 1 - i) & 1) << bit for i, bit in enumerate(order)) for at in range(1 << inputs)]
        functions = tuple(tuple(bool(table[place] >> bit & 1) for place in places) for bit in range(width))
        count = len(set().union(*(_nodes(each) for each in functions)))
        if best is None or count < best[0]:
            best = count, order, functions
    assert best is not None
    return best[1], best[2]


@lru_cache(maxsize=65536)
def _nodes(function: Truth) -> frozenset[Truth]:
    """The functions that depend on an input and are not this input itself, within a diagram."""
    if len(function) == 1:
        return frozenset()
    low, high = function[: len(function) // 2], function[len(function) // 2 :]
    inside = _nodes(low) | _nodes(high)
    return inside if low == high or (_is_constant(low) and _is_constant(high)) else inside | {function}


def _is_constant(function: Truth) -> bool:
    return len(set(function)) == 1


def _emitted(m: Module, inputs: Sequence[Expression], function: Truth, known: dict[Truth, Value]) -> Value:
    """A function of the last of the inputs, as many as it has."""
    if _is_constant(function):
        return ONE if function[0] else ZERO
    if function in known:
        return known[function]
    low, high = function[: len(function) // 2], function[len(function) // 2 :]
    first = inputs[-(len(function).bit_length() - 1)]
    if low == high:
        found: Value = _emitted(m, inputs, low, known)
    elif _is_constant(low) and _is_constant(high):
        found = first if high[0] else ~first
    else:
        halves = [_emitted(m, inputs, half, known) for half in (low, high)]
        found = m.wire(1, _node(first, halves, low, high), "entry")
    known[function] = found
    return found


def _node(first: Expression, halves: Sequence[Value], low: Truth, high: Truth) -> Expression:
    """A two-way selector by the input `first`, simplified where a half is constant or the other's opposite."""
    zero, one = (half.expression for half in halves)
    if all(a != b for a, b in zip(low, high, strict=True)):
        return first ^ zero.grouped()
    if _is_constant(low):
        return (~first).grouped() | one.grouped() if low[0] else first & one.grouped()
    if _is_constant(high):
        return first | zero.grouped() if high[0] else (~first).grouped() & zero.grouped()
    return first.choose(one, zero)
