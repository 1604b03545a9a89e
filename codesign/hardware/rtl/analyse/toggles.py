"""Toggles of a unit's gates on a stream of operands: settled, and with the glitches of unequal arrival times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from codesign.hardware.rtl.analyse import events
from codesign.hardware.rtl.analyse.events import Ints, Network, Program, Words, ones
from codesign.hardware.rtl.analyse.gates import AND, AND_OR, INPUTS, MAJORITY, REGISTER, SELECT, XOR, Gates

_PROGRAMS: dict[int, Program] = {
    AND: ((events.AND, 0, 1),),
    XOR: ((events.XOR, 0, 1),),
    SELECT: ((events.XOR, 1, 2), (events.AND, 0, 3), (events.XOR, 2, 4)),
    MAJORITY: ((events.AND, 0, 1), (events.OR, 0, 1), (events.AND, 2, 4), (events.OR, 3, 5)),
    AND_OR: ((events.AND, 1, 2), (events.OR, 0, 3)),
}
# Delays of the gates in steps, in proportion to those of the cells that they become on average; each doubling of the
# pins that a gate drives takes a step more. They decide which pulses are short enough to vanish.
_STEPS = {AND: 3, AND_OR: 4, XOR: 4, SELECT: 6, MAJORITY: 4}
# A gate differs from that by up to so many steps, as the mapper merges, buffers and sizes cells: without it the inputs
# of a carry-save adder arrive together too often, and glitches of multipliers are told too low.
_SCATTER = 3

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Toggles:
    """Toggles of each gate's output per transition, float64 [gates, groups of streams]."""

    settled: Floats
    glitches: Floats


def toggles(
    gates: Gates, ports: Mapping[str, Words], counted: Sequence[int], timed: Sequence[int], masks: Words
) -> Toggles:
    """Toggles on the values of the ports, uint64 [cycles, bits, words].

    counted: the cycles whose settled toggles are counted; timed: those whose glitches are; none of them is 0. masks:
    [groups, words], the streams that are counted apart.
    """
    values = settle(gates, ports)
    streams = ones(masks)
    settled = events.changes(values, counted, masks) / (len(counted) * streams)
    found = network(gates)
    glitches = -events.changes(values, timed, masks)
    for cycle, delays in zip(timed, _delays(gates), strict=False):
        glitches += events.transitions(found, values[cycle - 1], values[cycle], delays[found.out], masks)
    return Toggles(settled, glitches / (len(timed) * streams))


@lru_cache(maxsize=4)
def network(gates: Gates) -> Network:
    """The gates with inputs, without registers and ports."""
    out = np.flatnonzero(gates.kind > REGISTER)
    kinds = list(INPUTS)
    program = np.searchsorted(kinds, gates.kind[out])
    count = np.array([INPUTS[kind] for kind in kinds])[program]
    return Network(gates.count, tuple(_PROGRAMS[kind] for kind in kinds), program, gates.inputs[out], count, out)


def settle(gates: Gates, ports: Mapping[str, Words]) -> Words:
    """Settled values [cycles, words, gates]; ports: [cycles, bits, words]. Registers are 0 at first."""
    cycles, _, words = next(iter(ports.values())).shape
    values = np.zeros((cycles, words, gates.count), dtype=np.uint64)
    for name, bits in gates.ports.items():
        literals = np.array(bits, dtype=np.int64)
        used = literals > 1
        values[:, :, literals[used] >> 1] = ports[name][:, : len(literals)][:, used].transpose(0, 2, 1)
    held = np.flatnonzero(gates.kind == REGISTER)
    events.settle(network(gates), values, held, gates.data[held])
    return values


def _delays(gates: Gates) -> Iterator[Ints]:
    """Steps of time that each gate takes, int64 [gates]: draws of their scatter, each followed by its opposite."""
    own = np.array([_STEPS.get(kind, 1) for kind in range(max(_STEPS) + 1)])[gates.kind]
    typical = own + np.rint(np.log2(np.maximum(gates.fan_out, 1))).astype(np.int64)
    rng = np.random.default_rng(0)
    while True:
        scatter = rng.integers(-_SCATTER, _SCATTER + 1, gates.count)
        yield np.maximum(1, typical + scatter)
        yield np.maximum(1, typical - scatter)
