"""Toggles of a unit's gates on a stream of operands: settled, and with the glitches of unequal arrival times."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from codesign.hardware.rtl.analyse.events import ALL, Batch, Events, Ints, Words, ones
from codesign.hardware.rtl.analyse.gates import AND, AND_OR, INPUTS, MAJORITY, REGISTER, SELECT, XOR, Gates

_PINS = ("a", "b", "c")
_FUNCTIONS: dict[int, Callable[[Mapping[str, Words]], Words]] = {
    AND: lambda pins: pins["a"] & pins["b"],
    XOR: lambda pins: pins["a"] ^ pins["b"],
    SELECT: lambda pins: pins["c"] ^ pins["a"] & (pins["b"] ^ pins["c"]),
    MAJORITY: lambda pins: pins["a"] & pins["b"] | pins["c"] & (pins["a"] | pins["b"]),
    AND_OR: lambda pins: pins["a"] | pins["b"] & pins["c"],
}
# Relative delays of the gates in steps; each doubling of the pins that a gate drives takes a step more. They decide
# which pulses are short enough to vanish, not how much a toggle costs.
_STEPS = {AND: 3, AND_OR: 4, XOR: 5, SELECT: 4, MAJORITY: 5}

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Toggles:
    """Toggles of each gate's output per transition, float64 [gates, groups of words]."""

    settled: Floats
    glitches: Floats


def toggles(
    gates: Gates, ports: Mapping[str, Words], counted: Sequence[int], timed: Sequence[int], groups: int
) -> Toggles:
    """Toggles on the values of the ports, uint64 [cycles, bits, words], by group of consecutive words.

    counted: the cycles whose settled toggles are counted, of the timed ones also glitches; none of them is 0.
    """
    values = settle(gates, ports)
    streams = 64 * values.shape[2] // groups
    own = values[::2]
    at, when = np.array(counted), np.array(timed)
    settled = _grouped(own[:, at] ^ own[:, at - 1], groups) / (len(at) * streams)
    then, now = (_group_major(values[:, times], groups) for times in (when - 1, when))
    events = Events(batches(gates, np.arange(gates.count)), 2 * gates.count, np.repeat(_delays(gates), 2), mirrored=True)
    every, last = events.toggles(then, now, np.full(now.shape[1], ALL), groups)
    assert np.array_equal(last, now)
    short = ones((then ^ now)[::2], groups)
    return Toggles(settled, (every[::2] - short) / (len(when) * streams))


def _group_major(values: Words, groups: int) -> Words:
    """[nets, times, words] as [nets, groups x times x words of a group]."""
    nets, times, words = values.shape
    split = values.reshape(nets, times, groups, words // groups).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(split).reshape(nets, -1)


def _grouped(changes: Words, groups: int) -> Ints:
    return ones(_group_major(changes, groups), groups)


def batches(gates: Gates, chosen: Ints) -> list[Batch]:
    """The chosen gates by kind, on literals."""
    found = []
    kinds = gates.kind[chosen]
    for kind, pins in INPUTS.items():
        own = chosen[kinds == kind]
        if len(own):
            found.append(Batch(_FUNCTIONS[kind], {_PINS[i]: gates.inputs[own, i] for i in range(pins)}, 2 * own))
    return found


def settle(gates: Gates, ports: Mapping[str, Words]) -> Words:
    """Settled values [literals, cycles, words]; ports: [cycles, bits, words]. Registers are 0 at first.

    What no feedback loop precedes is evaluated for all cycles at once.
    """
    cycles, _, words = next(iter(ports.values())).shape
    values = np.zeros((2 * gates.count, cycles, words), dtype=np.uint64)
    for name, bits in gates.ports.items():
        literals = np.array(bits, dtype=np.int64)
        used = literals > 1
        values[literals[used]] = ports[name].transpose(1, 0, 2)[: len(literals)][used]
    values[1::2] = ~values[::2]
    register = gates.kind == REGISTER
    level, looped = gates.level, gates.looped
    order = np.argsort(level, kind="stable")
    cuts = np.searchsorted(level[order], np.arange(level.max() + 2))
    flat = values.reshape(2 * gates.count, -1)
    loops: list[Batch] = []
    for low, high in zip(cuts[:-1], cuts[1:], strict=True):
        here = order[low:high]
        free = here[~looped[here]]
        held = free[register[free]]
        if len(held):
            values[2 * held, 1:] = values[gates.data[held], :-1]
            values[2 * held + 1] = ~values[2 * held]
        for batch in batches(gates, free):
            _evaluate(batch, flat)
        loops += batches(gates, here[looped[here]])
    held = np.flatnonzero(register & looped)
    for cycle in range(cycles if len(held) else 0):
        now = np.ascontiguousarray(values[:, cycle])
        if cycle:
            now[2 * held] = values[gates.data[held], cycle - 1]
        now[2 * held + 1] = ~now[2 * held]
        for batch in loops:
            _evaluate(batch, now)
        values[:, cycle] = now
    return values


def _evaluate(batch: Batch, values: Words) -> None:
    """Set the outputs of gates on literals, and their complements."""
    batch.evaluate(values)
    values[batch.nets + 1] = ~values[batch.nets]


def _delays(gates: Gates) -> Ints:
    """Steps of time that each gate takes, int64 [gates]."""
    own = np.array([_STEPS.get(kind, 1) for kind in range(max(_STEPS) + 1)])[gates.kind]
    return np.asarray(own + np.rint(np.log2(np.maximum(gates.fan_out, 1))).astype(np.int64))
