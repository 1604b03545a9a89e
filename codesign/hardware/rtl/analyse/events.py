"""Simulation of gates with 64 streams per word: every toggle on the way to settled values.

Delays are inertial, as in gate-level simulation with an SDF file: a pulse that is shorter than the delay of the gate
that would make it does not appear. Compiled where numba is installed (`event_loop`), otherwise in NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Ints = NDArray[np.int64]
ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
INVERT = np.array([0, ALL], dtype=np.uint64)
AND, OR, XOR, ZERO, ONE = range(5)

Program = tuple[tuple[int, int, int], ...]
"""A gate's function: (operation, a, b) one after the other, of its pins 0 .. n-1 and of earlier results n, n+1, ...
The last result is the output; without operations it is the last pin."""


@dataclass(frozen=True, eq=False)
class Network:
    """Gates between nets; a literal is 2 x net, and 1 more for its complement."""

    nets: int
    programs: tuple[Program, ...]
    program: Ints  # [gates], index of programs
    pins: Ints  # [gates, most pins] literals; 0 where a gate has fewer
    count: Ints  # [gates], pins
    out: Ints  # [gates], net that a gate drives

    @cached_property
    def encoded(self) -> tuple[Ints, Ints, Ints, Ints, Ints, int]:
        """As the compiled loops take it."""
        ends = np.cumsum([0, *map(len, self.programs)])
        flat = [step for program in self.programs for step in program]
        operations = np.array(flat, dtype=np.int64).reshape(-1, 3)
        room = self.pins.shape[1] + max(map(len, self.programs), default=0) + 1
        first = np.stack([ends[self.program], ends[self.program + 1]], axis=1)
        return self.pins, self.count, first, operations, self.out, room

    @cached_property
    def readers(self) -> tuple[Ints, Ints]:
        """(start, gates): gates[start[n] : start[n + 1]] read net n."""
        used = np.arange(self.pins.shape[1]) < self.count[:, None]
        by, read = np.nonzero(used)[0], self.pins[used] >> 1
        order = np.argsort(read, kind="stable")
        return np.searchsorted(read[order], np.arange(self.nets + 1)), by[order]

    @cached_property
    def by_program(self) -> list[Ints]:
        return [np.flatnonzero(self.program == index) for index in range(len(self.programs))]


def ones(words: Words) -> Ints:
    """Number of set bits in each row of [..., words]."""
    return np.asarray(np.bitwise_count(words).sum(axis=-1, dtype=np.int64))


@cache
def loops() -> ModuleType | None:
    """The compiled loops; None where numba does not work."""
    try:
        import numba

        from codesign.hardware.rtl.analyse import event_loop
    except (ImportError, OSError):  # as in `formats.compiled`
        return None
    return None if numba.config.DISABLE_JIT else event_loop


def evaluated(program: Program, pins: Sequence[Words]) -> Words:
    """The outputs of gates of one program."""
    registers = list(pins)
    for kind, a, b in program:
        if kind in (ZERO, ONE):
            registers.append(np.full((), INVERT[kind - ZERO]))
        else:
            registers.append((np.bitwise_and, np.bitwise_or, np.bitwise_xor)[kind](registers[a], registers[b]))
    return registers[-1]


def outputs(network: Network, gates: Ints, program: int, values: Words) -> Words:
    """What gates of one program make of net values [nets, ...]."""
    literals = network.pins[gates, : network.count[gates[0]]]
    shape = (len(gates), *(1,) * (values.ndim - 1))
    pins = [values[one >> 1] ^ INVERT[one & 1].reshape(shape) for one in literals.T]
    return evaluated(network.programs[program], pins)


def changes(values: Words, cycles: Sequence[int], masks: Words) -> Ints:
    """Nets that differ from the cycle before, [nets, groups]; values: [cycles, words, nets]."""
    found = np.zeros((values.shape[2], len(masks)), dtype=np.int64)
    for cycle in cycles:
        found += _counted((values[cycle] ^ values[cycle - 1]).T, masks)
    return found


def settle(network: Network, values: Words, held: Ints, data: Ints) -> None:
    """Set what gates and registers drive in `values`, [cycles, words, nets]; gates are in the order of evaluation.

    held: nets of registers, 0 at first; data: literals, what each holds a cycle later.
    """
    compiled = loops()
    if compiled is None:
        _settle(network, values, held, data)
    else:
        compiled.settled(values, network.encoded, held, data, INVERT)


def _settle(network: Network, values: Words, held: Ints, data: Ints) -> None:
    """As `settle`, in NumPy: gates whose inputs are known are evaluated together."""
    level, own = [0] * network.nets, [0] * len(network.out)
    for gate, (out, count, pins) in enumerate(
        zip(network.out.tolist(), network.count.tolist(), (network.pins >> 1).tolist(), strict=True)
    ):
        own[gate] = level[out] = 1 + max((level[net] for net in pins[:count]), default=0)
    levels = np.array(own)
    groups = [
        (program, chosen)
        for one in np.unique(levels)
        for program, members in enumerate(network.by_program)
        if len(chosen := members[levels[members] == one])
    ]
    now = np.zeros((network.nets, values.shape[1]), dtype=np.uint64)
    for cycle in range(len(values)):
        kept = now[data >> 1] ^ INVERT[data & 1][:, None]
        now[:] = values[cycle].T
        now[held] = kept if cycle else 0
        for program, chosen in groups:
            now[network.out[chosen]] = outputs(network, chosen, program, now)
        values[cycle] = now.T


def transitions(network: Network, then: Words, now: Words, delay: Ints, masks: Words) -> Ints:
    """Toggles of each net in independent transitions, [nets, groups].

    then, now: settled values [words, nets] before and after. delay: [gates], in steps of time, at least 1. masks:
    [groups, words], the streams that each group counts.
    """
    ring = int(delay.max(initial=0)) + 1
    toggles = np.zeros((network.nets, len(masks)), dtype=np.int64)
    compiled = loops()
    if compiled is None:
        same = _transitions(network, then.T, now.T, delay, masks, toggles, ring)
    else:
        start, reader = network.readers
        size = 1 << (ring - 1).bit_length()
        same = compiled.transitions(then, now, network.encoded, delay, start, reader, masks, toggles, size, INVERT)
    assert same
    return toggles


def _transitions(
    network: Network, then: Words, now: Words, delay: Ints, masks: Words, toggles: Ints, ring: int
) -> bool:
    """As `transitions`, in NumPy: all words at once, [nets, words]."""
    out = network.out
    values = now.copy()
    values[out] = then[out]
    computed = then[out]  # what each gate makes of its inputs now; waiting to appear where it differs from values
    pending = np.zeros((ring, len(out), now.shape[1]), dtype=np.uint64)
    due = np.zeros((ring, len(out)), dtype=bool)
    difference = values ^ then
    toggles += _counted(difference, masks)
    changed = np.flatnonzero(difference.any(axis=1))
    time = 0
    while True:
        if len(changed):
            _respond(network, changed, time, values, computed, pending, due, delay)
        if not due.any():
            return bool((values == now).all())
        time += 1
        gates = np.flatnonzero(due[time % ring])
        due[time % ring] = False
        fired = pending[time % ring, gates]
        pending[time % ring, gates] = 0
        values[out[gates]] ^= fired
        toggles[out[gates]] += _counted(fired, masks)
        changed = out[gates[fired.any(axis=1)]]


def _counted(words: Words, masks: Words) -> Ints:
    return np.stack([ones(words & mask) for mask in masks], axis=-1)


def _respond(
    network: Network,
    changed: Ints,
    time: int,
    values: Words,
    computed: Words,
    pending: Words,
    due: NDArray[np.bool_],
    delay: Ints,
) -> None:
    """Evaluate the gates that read the changed nets."""
    start, reader = network.readers
    active = np.zeros(len(network.out), dtype=bool)
    for net in changed:
        active[reader[start[net] : start[net + 1]]] = True
    for program, members in enumerate(network.by_program):
        gates = members[active[members]]
        if not len(gates):
            continue
        new, before = outputs(network, gates, program, values), computed[gates]
        flipped, waits = new ^ before, before ^ values[network.out[gates]]
        computed[gates] = new
        pending[:, gates] &= ~(flipped & waits)
        started = flipped & ~waits
        some = started.any(axis=1)
        slot = (time + delay[gates[some]]) % len(due)
        pending[slot, gates[some]] |= started[some]
        due[slot, gates[some]] = True
