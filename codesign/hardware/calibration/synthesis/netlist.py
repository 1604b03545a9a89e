"""Toggle counts and energy of a synthesised unit by gate-level simulation in NumPy, with 64 streams per word.

Two delay models bound the glitches. Zero delay: each net toggles at most once per cycle (a lower bound). Unit delay:
all gates have the same delay, so that paths of unequal depth cause several toggles. Given the settled state of every
cycle, which is computed first, level by level, the cycles are independent, and the unit-delay simulation runs all at
once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codesign.errors import InputError
from codesign.files import read_text
from codesign.hardware.calibration.liberty.cells import library_cell
from codesign.hardware.calibration.liberty.library import Cell, Library

Words = NDArray[np.uint64]
_LOW, _HIGH = 0, 1  # nets 0 and 1 are the constants
_ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


@dataclass(frozen=True)
class Gates:
    """All instances of one cell type; pins: pin -> net of each instance."""

    cell: Cell
    pins: dict[str, NDArray[np.int64]]
    count: int


@dataclass(frozen=True)
class Netlist:
    """A mapped unit. Nets are numbered; nets 0 and 1 are the constants."""

    top: str
    nets: int  # number of nets
    inputs: dict[str, NDArray[np.int64]]  # port -> its nets, lowest bit first
    outputs: dict[str, NDArray[np.int64]]
    gates: tuple[Gates, ...]
    flip_flops: tuple[Gates, ...]
    clock: int | None
    fan_out: NDArray[np.int64]  # [nets], driven pins
    load_ff: NDArray[np.float64]  # [nets], capacitance of the driven pins

    @property
    def cells(self) -> int:
        return sum(group.count for group in (*self.gates, *self.flip_flops))


@dataclass(frozen=True)
class Activity:
    """Toggle counts and outputs of a simulation."""

    settled: NDArray[np.int64]  # [nets], toggles under zero delay, over all transitions
    unit_delay: NDArray[np.int64]  # [nets], toggles under unit delay (with glitches)
    transitions: int  # counted cycles x streams
    steps: int  # unit delays until all cycles settled
    outputs: dict[str, NDArray[np.object_]]  # port -> integers [cycles, streams], settled before the next clock edge


@dataclass(frozen=True)
class EnergyResult:
    """Energy of one unit per cycle."""

    zero_delay_fj: float  # without clock
    unit_delay_fj: float  # without clock
    clock_fj: float
    leakage_nw: float


def read_netlist(json_path: Path, top: str, library: Library) -> Netlist:
    """Read a flat, mapped module written by yosys `write_json`.

    Raises InputError for another kind of file, a cell that is not in the library, a latch, or a clock that does not
    come directly from one port.
    """
    try:
        module = json.loads(read_text(json_path))["modules"][top]
        ports, instances = module["ports"], module["cells"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{json_path}: not a netlist of module {top!r} in the JSON of yosys") from None
    number: dict[int | str, int] = {"0": _LOW, "1": _HIGH, "x": _LOW, "z": _LOW}

    def nets_of(bits: list[int | str]) -> list[int]:
        return [number.setdefault(bit, len(number) - 2) for bit in bits]

    sides: dict[str, dict[str, NDArray[np.int64]]] = {"input": {}, "output": {}}
    for name, port in ports.items():
        if port["direction"] not in sides:
            raise InputError(f"{json_path}: port {name!r} is {port['direction']}; inputs and outputs are simulated")
        sides[port["direction"]][name] = np.array(nets_of(port["bits"]), dtype=np.int64)
    by_type: dict[str, list[dict[str, int]]] = {}
    for instance in instances.values():
        pins = {pin: nets_of(bits)[0] for pin, bits in instance["connections"].items() if bits}
        by_type.setdefault(instance["type"], []).append(pins)
    groups = [_gates(library_cell(library, kind), pins, number) for kind, pins in sorted(by_type.items())]
    nets = len(number) - 2
    return _finish(json_path, top, nets, sides, groups)


def _gates(cell: Cell, instances: list[dict[str, int]], number: dict[int | str, int]) -> Gates:
    pins: dict[str, NDArray[np.int64]] = {}
    for pin in cell.inputs_ff:
        pins[pin] = np.array([instance.get(pin, _LOW) for instance in instances], dtype=np.int64)
    for pin in cell.functions:  # an unconnected output has a net of its own
        nets = [
            instance[pin] if pin in instance else number.setdefault(f"open {len(number)}", len(number) - 2)
            for instance in instances
        ]
        pins[pin] = np.array(nets, dtype=np.int64)
    return Gates(cell, pins, len(instances))


def _finish(
    path: Path, top: str, nets: int, sides: dict[str, dict[str, NDArray[np.int64]]], groups: list[Gates]
) -> Netlist:
    fan_out, load_ff = np.zeros(nets, dtype=np.int64), np.zeros(nets)
    for group in groups:
        for pin, capacitance in group.cell.inputs_ff.items():
            np.add.at(fan_out, group.pins[pin], 1)
            np.add.at(load_ff, group.pins[pin], capacitance)
    flip_flops = tuple(group for group in groups if group.cell.ff is not None)
    gates = tuple(group for group in groups if group.cell.ff is None)
    clocks = {int(net) for group in flip_flops if group.cell.ff for net in group.pins[group.cell.ff.clock]}
    if len(clocks) > 1:
        raise InputError(f"{path}: {len(clocks)} clock nets; units with one clock are simulated")
    clock = next(iter(clocks), None)
    ports = {int(net) for nets_of in sides["input"].values() for net in nets_of}
    if clock is not None and (clock not in ports or any(clock in pins for g in gates for pins in g.pins.values())):
        raise InputError(f"{path}: the clock passes a gate; units with a plain clock are simulated")
    return Netlist(top, nets, sides["input"], sides["output"], gates, flip_flops, clock, fan_out, load_ff)


class _Batch:
    """Instances of one cell type evaluated together."""

    def __init__(self, group: Gates, chosen: NDArray[np.int64] | slice = slice(None)) -> None:
        self.inputs = {pin: group.pins[pin][chosen] for pin in group.cell.inputs_ff}
        self.outputs = [
            (group.pins[pin][chosen], function.compiled(_ALL)) for pin, function in group.cell.functions.items()
        ]

    def evaluate(self, values: Words, into: Words) -> None:
        """Evaluate the outputs on the net values ``values`` [nets, words] and write them to ``into``."""
        read = {pin: values[nets] for pin, nets in self.inputs.items()}
        for nets, function in self.outputs:
            into[nets] = function(read)


def _schedule(netlist: Netlist) -> list[_Batch]:
    """The gates in levels, each of which reads only nets of earlier levels; InputError on a combinational loop."""
    depth = np.full(netlist.nets, -1, dtype=np.int64)
    depth[[_LOW, _HIGH]] = 0
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
    batches: list[_Batch] = []
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
            batches.append(_Batch(group, members))
            for pin in group.cell.functions:
                depth[group.pins[pin][members]] = 1
        waiting = rest
    return batches


def switching(netlist: Netlist, stimulus: Mapping[str, NDArray[Any]], count_from: int = 1) -> Activity:
    """Simulate a netlist and count toggles.

    stimulus: port -> unsigned values [cycles, streams] (integers, or Python integers as objects). Each stream is an
    independent run with initial flip-flop states of 0. In cycle t the inputs of row t are applied, the gates settle,
    outputs are sampled, and the clock ticks. count_from: the first cycle whose toggles are counted, at least 1. Set and
    reset act at the clock edge. Raises InputError if ports and stimulus do not match, or on a combinational loop.
    """
    cycles, streams = _shape(netlist, stimulus)
    if not 1 <= count_from < cycles:
        raise InputError(f"{cycles} cycles with toggles counted from cycle {count_from}: nothing to count")
    words = -(-streams // 64)
    mask = np.full(words, _ALL)
    if streams % 64:
        mask[-1] = np.uint64((1 << (streams % 64)) - 1)
    before, after = _settle(netlist, stimulus, cycles, words)
    outputs = {name: _unpack(after[:, nets], streams) for name, nets in netlist.outputs.items()}
    settled = np.zeros(netlist.nets, dtype=np.int64)
    for cycle in range(count_from, cycles):
        settled += _ones((after[cycle] ^ after[cycle - 1]) & mask)
    unit_delay, steps = _unit_delay(netlist, before, after, mask, count_from)
    for counts in (settled, unit_delay):
        if netlist.clock is not None:
            counts[netlist.clock] = 0
    return Activity(settled, unit_delay, (cycles - count_from) * streams, steps, outputs)


def _shape(netlist: Netlist, stimulus: Mapping[str, NDArray[Any]]) -> tuple[int, int]:
    needed = {name for name, nets in netlist.inputs.items() if netlist.clock is None or netlist.clock not in nets}
    if needed != set(stimulus):
        raise InputError(f"{netlist.top} has the input ports {sorted(needed)}; the stimulus gives {sorted(stimulus)}")
    shapes = {array.shape for array in stimulus.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2 or 0 in next(iter(shapes)):
        raise InputError(f"the stimulus must be arrays [cycles, streams] of one shape, got {sorted(map(str, shapes))}")
    cycles, streams = next(iter(shapes))
    return int(cycles), int(streams)


def _settle(netlist: Netlist, stimulus: Mapping[str, NDArray[Any]], cycles: int, words: int) -> tuple[Words, Words]:
    """Net values [cycles, nets, words] at the start of each cycle (before the gates respond) and at its end."""
    batches = _schedule(netlist)
    bits = {name: _pack(array, len(netlist.inputs[name]), words) for name, array in stimulus.items()}
    values: Words = np.zeros((netlist.nets, words), dtype=np.uint64)
    values[_HIGH] = _ALL
    before = np.empty((cycles, netlist.nets, words), dtype=np.uint64)
    after = np.empty_like(before)
    states = [np.zeros((group.count, words), dtype=np.uint64) for group in netlist.flip_flops]
    for cycle in range(cycles):
        for name, array in bits.items():
            values[netlist.inputs[name]] = array[cycle]
        for group, state in zip(netlist.flip_flops, states, strict=True):
            _show(group, state, values)
        before[cycle] = values
        for batch in batches:
            batch.evaluate(values, values)
        after[cycle] = values
        states = [_tick(group, values) for group in netlist.flip_flops]
    return before, after


def _show(group: Gates, state: Words, values: Words) -> None:
    ff = group.cell.ff
    assert ff is not None
    pins = {ff.state: state, ff.inverse: ~state}
    for pin, function in group.cell.functions.items():
        values[group.pins[pin]] = function.compiled(_ALL)(pins)


def _tick(group: Gates, values: Words) -> Words:
    ff = group.cell.ff
    assert ff is not None
    read = {pin: values[group.pins[pin]] for pin in group.cell.inputs_ff}
    state: Words = ff.next_state.compiled(_ALL)(read)
    if ff.preset is not None:
        state = state | ff.preset.compiled(_ALL)(read)
    if ff.clear is not None:
        state = state & ~ff.clear.compiled(_ALL)(read)
    return state


def _unit_delay(
    netlist: Netlist, before: Words, after: Words, mask: Words, count_from: int
) -> tuple[NDArray[np.int64], int]:
    """(toggles of each net under unit delay, number of steps until settled), for all cycles at once."""
    batches = [_Batch(group) for group in netlist.gates]
    cycles, nets = before.shape[:2]

    def side_by_side(array: Words) -> Words:
        return np.ascontiguousarray(array[count_from:].transpose(1, 0, 2)).reshape(nets, -1)

    wide_mask = np.tile(mask, cycles - count_from)
    now = side_by_side(before)
    # first step: inputs and flip-flops change from the settled values of the previous cycle
    previous = np.ascontiguousarray(after[count_from - 1 : cycles - 1].transpose(1, 0, 2)).reshape(nets, -1)
    toggles = _ones((now ^ previous) & wide_mask)
    then = now.copy()
    steps = 0
    while True:
        for batch in batches:
            batch.evaluate(now, then)
        changed = (now ^ then) & wide_mask
        if not changed.any():
            return toggles, steps
        toggles += _ones(changed)
        steps += 1
        now, then = then, now


def _ones(words: Words) -> NDArray[np.int64]:
    """Number of set bits in each row of [rows, words]."""
    count = getattr(np, "bitwise_count", None)  # NumPy 2.0 and later
    counts = count(words) if count else np.unpackbits(words.view(np.uint8), axis=-1)
    return np.asarray(counts.sum(axis=-1, dtype=np.int64))


def _pack(array: NDArray[Any], width: int, words: int) -> Words:
    """Port values [cycles, streams] as bits [cycles, width, words], stream s in bit s mod 64 of word s // 64."""
    cycles, streams = array.shape
    if array.dtype == object or width > 64:
        limit = (1 << 64) - 1
        wide = array.astype(object)
        parts = [
            (np.vectorize(lambda v, s=shift: (int(v) >> s) & limit, otypes=[np.uint64])(wide), shift)
            for shift in range(0, width, 64)
        ]
    else:
        parts = [(array.astype(np.uint64), 0)]
    bits = np.zeros((cycles, width, words * 64), dtype=np.uint8)
    for part, shift in parts:
        for bit in range(shift, min(width, shift + 64)):
            bits[:, bit, :streams] = (part >> np.uint64(bit - shift)) & np.uint64(1)
    packed = np.packbits(bits, axis=-1, bitorder="little")
    return packed.view("<u8").astype(np.uint64)


def _unpack(values: Words, streams: int) -> NDArray[np.object_]:
    """Bits [cycles, width, words] as Python integers [cycles, streams]."""
    raw = np.ascontiguousarray(values.astype("<u8")).view(np.uint8)
    bits = np.unpackbits(raw, axis=-1, bitorder="little")[:, :, :streams]
    total = np.zeros((bits.shape[0], streams), dtype=object)
    for start in range(0, bits.shape[1], 32):
        part = bits[:, start : start + 32].astype(np.int64)
        weights = np.int64(1) << np.arange(part.shape[1], dtype=np.int64)
        total = total + (part * weights[None, :, None]).sum(axis=1).astype(object) * (1 << start)
    return total


def energy_fj(activity: Activity, netlist: Netlist, library: Library, wire_cap_ff_per_fanout: float) -> EnergyResult:
    """Energy per cycle in fJ: C V^2 / 2 per toggle of a net, and internal energy of the cells.

    C is the input capacitance of the driven cells plus a wire per driven pin. Input ports count like other nets; loads
    of output ports outside of the unit do not count. Flip-flops: output and data pins per toggle; clock pins with their
    wires twice per cycle, in ``clock_fj``.
    """
    volts2 = library.voltage_v**2
    per_toggle = 0.5 * (netlist.load_ff + wire_cap_ff_per_fanout * netlist.fan_out) * volts2
    clock = 0.0
    for group in (*netlist.gates, *netlist.flip_flops):
        ff = group.cell.ff
        for pin, internal in group.cell.internal_fj.items():
            if ff is not None and pin == ff.clock:
                clock += group.count * 2 * internal
            elif pin in group.pins:
                np.add.at(per_toggle, group.pins[pin], internal)
        if ff is not None:
            clock += group.count * (group.cell.inputs_ff[ff.clock] + wire_cap_ff_per_fanout) * volts2
    leakage = sum(group.count * group.cell.leakage_nw for group in (*netlist.gates, *netlist.flip_flops))
    zero_delay, unit_delay = (
        float(counts @ per_toggle) / activity.transitions for counts in (activity.settled, activity.unit_delay)
    )
    return EnergyResult(zero_delay, unit_delay, clock, float(leakage))
