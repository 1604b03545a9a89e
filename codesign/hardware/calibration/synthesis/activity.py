"""Toggles of a synthesised unit by gate-level simulation in NumPy, with 64 streams per word.

Settled: each net toggles at most once per cycle. Timed: with the delay of every gate (`gate_steps`), so that paths of
unequal length cause several toggles. Given the settled state of every cycle, which is computed first, level by level,
the cycles are independent, and all timed ones run at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codesign.errors import InputError
from codesign.hardware.calibration.liberty.delays import CellDelay
from codesign.hardware.calibration.synthesis.netlist import HIGH, LOW, Gates, Netlist
from codesign.hardware.rtl.analyse.events import ALL, Batch, Events, Ints, Words, ones

_STEPS_PER_DELAY = 4  # steps of time in the median delay of the gates
_LONGEST = 63  # steps: longer delays (of gates with enormous loads) are cut

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Activity:
    """Toggle counts and outputs of a simulation."""

    settled: Ints  # [nets], toggles under zero delay, over all transitions
    transitions: int  # counted cycles x streams
    timed: Ints  # [nets], toggles under the delays of the gates, over the timed transitions
    shortest: Ints  # [nets], settled toggles over the timed transitions
    timed_transitions: int
    outputs: dict[str, Words]  # port -> bits [cycles, width, words], settled before the next clock edge


def schedule(netlist: Netlist) -> list[Batch]:
    """The gates in levels, each of which reads only nets of earlier levels; InputError on a combinational loop."""
    return [batch for level in _levels(netlist) for group, members in level for batch in _batches(group, members)]


def _batches(group: Gates, chosen: Ints) -> list[Batch]:
    """One batch per output of a cell type."""
    inputs = {pin: group.pins[pin][chosen] for pin in group.cell.inputs_ff}
    return [
        Batch(function.compiled(ALL), inputs, group.pins[pin][chosen]) for pin, function in group.cell.functions.items()
    ]


def _levels(netlist: Netlist) -> list[list[tuple[Gates, Ints]]]:
    """The gates by level, as (group, its members of the level)."""
    depth = np.full(netlist.nets, -1, dtype=np.int64)
    depth[[LOW, HIGH]] = 0
    for nets in netlist.inputs.values():
        depth[nets] = 0
    for group in netlist.flip_flops:
        for pin in group.cell.functions:
            depth[group.pins[pin]] = 0
    driven = np.zeros(netlist.nets, dtype=bool)
    for group in netlist.gates:
        for pin in group.cell.functions:
            driven[group.pins[pin]] = True
    depth[(depth < 0) & ~driven] = 0  # an undriven net is 0
    waiting = [(group, np.arange(group.count)) for group in netlist.gates]
    levels = []
    while waiting:
        rest, ready = [], []
        for group, members in waiting:
            sources = np.stack([depth[group.pins[pin][members]] for pin in group.cell.inputs_ff] or [members * 0])
            known = (sources >= 0).all(axis=0)
            if known.any():
                ready.append((group, members[known]))
            if not known.all():
                rest.append((group, members[~known]))
        if not ready:
            raise InputError(f"the gates of {netlist.top} form a loop without a flip-flop")
        for group, members in ready:
            for pin in group.cell.functions:
                depth[group.pins[pin][members]] = 1
        levels.append(ready)
        waiting = rest
    return levels


def gate_steps(
    netlist: Netlist, delays: Mapping[tuple[str, str], CellDelay], load_ff: Floats
) -> tuple[Ints, float]:
    """(steps of time of the gate that drives each net [nets], ps per step), by static timing with slews.

    load_ff: [nets], of pins and wires. The clock has the slew of the second point of the flip-flop's table; a cell
    without delay tables has the median delay.
    """
    slews, ps = np.zeros(netlist.nets), np.full(netlist.nets, np.nan)
    for group in netlist.flip_flops:
        for pin in group.cell.functions:
            found, nets = delays.get((group.cell.name, pin)), group.pins[pin]
            if found is not None:
                clock = found.slew.slew_ps[min(1, len(found.slew.slew_ps) - 1)]
                slews[nets] = found.slew.at(np.full(len(nets), clock), load_ff[nets])
    for level in _levels(netlist):
        for group, members in level:
            if not group.cell.inputs_ff:
                continue
            arriving = np.mean([slews[group.pins[pin][members]] for pin in group.cell.inputs_ff], axis=0)
            for pin in group.cell.functions:
                found, nets = delays.get((group.cell.name, pin)), group.pins[pin][members]
                if found is not None:
                    ps[nets] = found.delay.at(arriving, load_ff[nets])
                    slews[nets] = found.slew.at(arriving, load_ff[nets])
    known = ps[np.isfinite(ps)]
    step = float(np.median(known)) / _STEPS_PER_DELAY if len(known) else 1.0
    steps = np.where(np.isfinite(ps), ps / step, _STEPS_PER_DELAY)
    return np.clip(np.rint(steps), 1, _LONGEST).astype(np.int64), step


def simulate(netlist: Netlist, stimulus: Mapping[str, Words], counted: Sequence[int], timed: Sequence[int], steps: Ints,
             streams: int = 0) -> Activity:
    """Simulate a netlist and count toggles.

    stimulus: port -> bits, uint64 [cycles, width, words], of which the first `streams` count (by default all). Each
    stream is an independent run with initial flip-flop states of 0. In cycle t the inputs of row t are applied, the
    gates settle, outputs are sampled, and the clock ticks. counted: the cycles whose toggles are counted; timed: those
    of them that are simulated with delays, too, in `steps` of time per net. Set and reset act at the clock edge. Raises
    InputError if ports and stimulus do not match, or on a combinational loop.
    """
    cycles, words = _shape(netlist, stimulus)
    if not (len(counted) and min(counted) >= 1 and max(counted) < cycles):
        raise InputError(f"{cycles} cycles, of which {list(counted)} are to be counted: nothing to count")
    streams = streams or 64 * words
    mask = np.full(words, ALL)
    if streams % 64:
        mask[-1] = np.uint64((1 << (streams % 64)) - 1)
    before, after = _settle(netlist, stimulus)
    outputs = {name: after[:, nets] for name, nets in netlist.outputs.items()}
    settled = sum((ones((after[t] ^ after[t - 1]) & mask)[:, 0] for t in counted), np.zeros(netlist.nets, dtype=np.int64))

    def side_by_side(array: Words, shift: int = 0) -> Words:
        rows = array[np.array(timed) - shift].transpose(1, 0, 2)
        return np.ascontiguousarray(rows).reshape(netlist.nets, -1)

    batches = [batch for group in netlist.gates for batch in _batches(group, np.arange(group.count))]
    wide = np.tile(mask, len(timed))
    then, end = side_by_side(after, 1), side_by_side(after)
    found, last = Events(batches, netlist.nets, steps).toggles(then, side_by_side(before), wide)
    assert np.array_equal(last & wide, end & wide)
    shortest = ones((then ^ end) & wide)
    counts = [settled, found[:, 0], shortest[:, 0]]
    for each in counts:
        if netlist.clock is not None:
            each[netlist.clock] = 0
    return Activity(counts[0], len(counted) * streams, counts[1], counts[2], len(timed) * streams, outputs)


def _shape(netlist: Netlist, stimulus: Mapping[str, Words]) -> tuple[int, int]:
    needed = {name for name, nets in netlist.inputs.items() if netlist.clock is None or netlist.clock not in nets}
    if needed != set(stimulus):
        raise InputError(f"{netlist.top} has the input ports {sorted(needed)}; the stimulus gives {sorted(stimulus)}")
    shapes = {(len(array), *array.shape[2:]) for array in stimulus.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2 or 0 in next(iter(shapes)):
        raise InputError(f"the stimulus must be arrays [cycles, bits, words] of one shape, got {sorted(map(str, shapes))}")
    cycles, words = next(iter(shapes))
    return cycles, words


def _settle(netlist: Netlist, stimulus: Mapping[str, Words]) -> tuple[Words, Words]:
    """Net values [cycles, nets, words] at the start of each cycle (before the gates respond) and at its end."""
    batches = schedule(netlist)
    cycles, _, words = next(iter(stimulus.values())).shape
    values: Words = np.zeros((netlist.nets, words), dtype=np.uint64)
    values[HIGH] = ALL
    before = np.empty((cycles, netlist.nets, words), dtype=np.uint64)
    after = np.empty_like(before)
    states = [np.zeros((group.count, words), dtype=np.uint64) for group in netlist.flip_flops]
    for cycle in range(cycles):
        for name, bits in stimulus.items():
            values[netlist.inputs[name]] = bits[cycle]
        for group, state in zip(netlist.flip_flops, states, strict=True):
            _show(group, state, values)
        before[cycle] = values
        for batch in batches:
            batch.evaluate(values)
        after[cycle] = values
        states = [_tick(group, values) for group in netlist.flip_flops]
    return before, after


def _show(group: Gates, state: Words, values: Words) -> None:
    ff = group.cell.ff
    assert ff is not None
    pins = {ff.state: state, ff.inverse: ~state}
    for pin, function in group.cell.functions.items():
        values[group.pins[pin]] = function.compiled(ALL)(pins)


def _tick(group: Gates, values: Words) -> Words:
    ff = group.cell.ff
    assert ff is not None
    read = {pin: values[group.pins[pin]] for pin in group.cell.inputs_ff}
    state: Words = ff.next_state.compiled(ALL)(read)
    if ff.preset is not None:
        state = state | ff.preset.compiled(ALL)(read)
    if ff.clear is not None:
        state = state & ~ff.clear.compiled(ALL)(read)
    return state


def packed(array: NDArray[Any], width: int) -> Words:
    """Port values [cycles, streams] as bits [cycles, width, words], stream s in bit s mod 64 of word s // 64."""
    cycles, streams = array.shape
    wide, limit = array.astype(object), (1 << 64) - 1
    bits = np.zeros((cycles, width, -(-streams // 64) * 64), dtype=np.uint8)
    for shift in range(0, width, 64):
        part = np.vectorize(lambda value, low=shift: (int(value) >> low) & limit, otypes=[np.uint64])(wide)
        for bit in range(shift, min(width, shift + 64)):
            bits[:, bit, :streams] = (part >> np.uint64(bit - shift)) & np.uint64(1)
    return np.packbits(bits, axis=-1, bitorder="little").view("<u8").astype(np.uint64)


def unpacked(values: Words, streams: int) -> NDArray[np.object_]:
    """Bits [cycles, width, words] as Python integers [cycles, streams]."""
    raw = np.ascontiguousarray(values.astype("<u8")).view(np.uint8)
    bits = np.unpackbits(raw, axis=-1, bitorder="little")[:, :, :streams]
    total = np.zeros((bits.shape[0], streams), dtype=object)
    for start in range(0, bits.shape[1], 32):
        part = bits[:, start : start + 32].astype(np.int64)
        weights = np.int64(1) << np.arange(part.shape[1], dtype=np.int64)
        total = total + (part * weights[None, :, None]).sum(axis=1).astype(object) * (1 << start)
    return total
