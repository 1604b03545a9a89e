"""The loops of `events` and `toggles`, compiled: word by word, since most gates are quiet in most steps of time."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from codesign.formats.compiled.number import compiled

_ZERO = np.uint64(0)


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def ones(_context: Any, _x: Any) -> Any:
    """Number of set bits of a uint64."""
    word = ir.IntType(64)
    return types.int64(types.uint64), lambda _c, builder, _s, args: builder.ctpop(builder.bitcast(args[0], word))


@compiled
def value_of(gate, values, pins, count, first, operations, registers, invert):  # type: ignore[no-untyped-def]  # numba's
    """What a gate makes of the values of its pins; `registers` is room for the steps of its program."""
    last = count[gate]
    for i in range(last):
        literal = pins[gate, i]
        registers[i] = values[literal >> 1] ^ invert[literal & 1]
    for step in range(first[gate, 0], first[gate, 1]):
        a, b = registers[operations[step, 1]], registers[operations[step, 2]]
        kind = operations[step, 0]
        if kind == 0:
            registers[last] = a & b
        elif kind == 1:
            registers[last] = a | b
        elif kind == 2:
            registers[last] = a ^ b
        else:
            registers[last] = invert[kind - 3]
        last += 1
    return registers[last - 1]


@compiled
def settled(values, network, held, data, invert):  # type: ignore[no-untyped-def]  # numba's
    """As `events.settle`; values: [cycles, words, nets]."""
    pins, count, first, operations, out, room = network
    registers = np.empty(room, np.uint64)
    for cycle in range(values.shape[0]):
        for word in range(values.shape[1]):
            own = values[cycle, word]
            for i in range(len(held)):
                literal = data[i]
                if cycle:
                    own[held[i]] = values[cycle - 1, word, literal >> 1] ^ invert[literal & 1]
                else:
                    own[held[i]] = _ZERO
            for gate in range(len(out)):
                own[out[gate]] = value_of(gate, own, pins, count, first, operations, registers, invert)


@compiled
def transitions(then, now, network, delay, start, reader, masks, toggles, ring, invert):  # type: ignore[no-untyped-def]  # numba's
    """As `events.transitions`; toggles: [nets, groups], to which is added; returns whether all settle to `now`."""
    pins, count, first, operations, out, room = network
    registers = np.empty(room, np.uint64)
    gates, nets = len(out), then.shape[1]
    values, computed = np.empty(nets, np.uint64), np.empty(gates, np.uint64)
    pending, is_due = np.zeros((gates, ring), np.uint64), np.zeros((gates, ring), np.bool_)
    due, waiting = np.empty((ring, gates), np.int32), np.zeros(ring, np.int64)
    changed, stamp = np.empty(nets, np.int64), np.zeros(gates, np.int64)
    tick, same = 0, True
    for word in range(then.shape[0]):
        for net in range(nets):
            values[net] = now[word, net]
        for gate in range(gates):
            values[out[gate]] = computed[gate] = then[word, out[gate]]
        many = 0
        for net in range(nets):
            difference = values[net] ^ then[word, net]
            if difference != _ZERO:
                changed[many] = net
                many += 1
                for group in range(masks.shape[0]):
                    toggles[net, group] += ones(difference & masks[group, word])
        time, total = 0, 0
        while True:
            tick += 1
            for i in range(many):
                for at in range(start[changed[i]], start[changed[i] + 1]):
                    gate = reader[at]
                    if stamp[gate] == tick:
                        continue
                    stamp[gate] = tick
                    new = value_of(gate, values, pins, count, first, operations, registers, invert)
                    flipped = new ^ computed[gate]
                    if flipped == _ZERO:
                        continue
                    waits = computed[gate] ^ values[out[gate]]
                    computed[gate] = new
                    cancelled, started = flipped & waits, flipped & ~waits
                    if cancelled != _ZERO:
                        for slot in range(ring):
                            pending[gate, slot] &= ~cancelled
                    if started != _ZERO:
                        slot = (time + delay[gate]) % ring
                        pending[gate, slot] |= started
                        if not is_due[gate, slot]:
                            is_due[gate, slot] = True
                            due[slot, waiting[slot]] = gate
                            waiting[slot] += 1
                            total += 1
            if total == 0:
                break
            time += 1
            slot = time % ring
            many = 0
            for i in range(waiting[slot]):
                gate = due[slot, i]
                is_due[gate, slot] = False
                fired = pending[gate, slot]
                if fired != _ZERO:
                    pending[gate, slot] = _ZERO
                    net = out[gate]
                    values[net] ^= fired
                    changed[many] = net
                    many += 1
                    for group in range(masks.shape[0]):
                        toggles[net, group] += ones(fired & masks[group, word])
            total -= waiting[slot]
            waiting[slot] = 0
        for net in range(nets):
            same &= values[net] == now[word, net]
    return same
