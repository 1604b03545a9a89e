"""A synthesised unit as networks of gates (`rtl.analyse.events`): its gates alone, and with its flip-flops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from codesign.errors import InputError
from codesign.hardware.calibration.liberty.logic import BooleanExpression, negate
from codesign.hardware.calibration.synthesis.netlist import HIGH, LOW, Gates, Netlist
from codesign.hardware.rtl.analyse.events import AND, ONE, OR, XOR, ZERO, Ints, Network, Program

_KINDS = {"and": AND, "or": OR, "xor": XOR}


@dataclass(frozen=True, eq=False)
class Circuit:
    """The networks of a netlist; nets are those of the netlist, then the states of flip-flops and their next states."""

    gates: Network  # combinational
    whole: Network  # in the order of evaluation: outputs of flip-flops, gates, next states
    states: Ints  # nets
    following: Ints  # literals, what each state is a cycle later


def circuit(netlist: Netlist) -> Circuit:
    """Raises InputError on a combinational loop."""
    shown, gates, ticked = _Collected(), _Collected(), _Collected()
    states: list[Ints] = []
    nets = netlist.nets
    flip_flops = sum(group.count for group in netlist.flip_flops)
    for group in netlist.flip_flops:
        ff = group.cell.ff
        assert ff is not None
        own = nets + sum(map(len, states)) + np.arange(group.count)
        states.append(own)
        pins = {ff.state: 2 * own, ff.inverse: 2 * own + 1}
        for pin, function in group.cell.functions.items():
            shown.add(function, pins, group.pins[pin])
        then = ff.next_state
        if ff.preset is not None:
            then = BooleanExpression("or", operands=(then, ff.preset))
        if ff.clear is not None:
            then = BooleanExpression("and", operands=(then, negate(ff.clear)))
        ticked.add(then, {pin: 2 * group.pins[pin] for pin in group.cell.inputs_ff}, own + flip_flops)
    for level in levels(netlist):
        for group, members in level:
            pins = {pin: 2 * group.pins[pin][members] for pin in group.cell.inputs_ff}
            for pin, function in group.cell.functions.items():
                gates.add(function, pins, group.pins[pin][members])
    state = np.concatenate([*states, np.empty(0, dtype=np.int64)])
    every = nets + 2 * flip_flops
    return Circuit(
        gates.network(every), _Collected.of(shown, gates, ticked).network(every), state, 2 * (state + flip_flops)
    )


def levels(netlist: Netlist) -> list[list[tuple[Gates, Ints]]]:
    """The gates in levels, each of which reads only nets of earlier ones: (group, its members of the level).

    Raises InputError on a combinational loop.
    """
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
    found = []
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
        found.append(ready)
        waiting = rest
    return found


def program(function: BooleanExpression, pins: Sequence[str]) -> Program:
    """A cell's function of its pins."""
    steps: list[tuple[int, int, int]] = []

    def add(*step: int) -> int:
        kind, a, b = (*step, 0, 0)[:3]
        steps.append((kind, a, b))
        return len(pins) + len(steps) - 1

    def place(one: BooleanExpression) -> int:
        if one.kind == "var":
            return pins.index(one.name)
        if one.kind == "const":
            return add(ONE if one.value else ZERO)
        if one.kind == "not":
            return add(XOR, place(one.operands[0]), add(ONE))
        return add(_KINDS[one.kind], *map(place, one.operands))

    place(function)
    return tuple(steps)


class _Collected:
    """Gates in the order in which they are added."""

    def __init__(self) -> None:
        self.parts: list[tuple[Program, list[Ints], Ints]] = []

    @classmethod
    def of(cls, *others: _Collected) -> _Collected:
        found = cls()
        found.parts = [part for other in others for part in other.parts]
        return found

    def add(self, function: BooleanExpression, pins: Mapping[str, Ints], out: Ints) -> None:
        """pins: literals by pin."""
        self.parts.append((program(function, function.inputs), [pins[pin] for pin in function.inputs], out))

    def network(self, nets: int) -> Network:
        programs = {one: index for index, one in enumerate(dict.fromkeys(each for each, _, _ in self.parts))}
        most = max((len(pins) for _, pins, _ in self.parts), default=0)
        kinds, counts, outs, rows = [], [], [], []
        for one, pins, out in self.parts:
            kinds.append(np.full(len(out), programs[one]))
            counts.append(np.full(len(out), len(pins)))
            outs.append(out)
            rows.append(np.zeros((len(out), most), dtype=np.int64))
            for index, literals in enumerate(pins):
                rows[-1][:, index] = literals
        none = np.empty(0, dtype=np.int64)
        return Network(
            nets,
            tuple(programs),
            np.concatenate([none, *kinds]),
            np.concatenate([none.reshape(0, most), *rows]),
            np.concatenate([none, *counts]),
            np.concatenate([none, *outs]),
        )
