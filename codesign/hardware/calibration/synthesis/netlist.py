"""A synthesised unit as cells and nets, and what a toggle of each net costs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codesign.errors import InputError
from codesign.files import read_text
from codesign.hardware.calibration.liberty.cells import library_cell
from codesign.hardware.calibration.liberty.library import Cell, Library

LOW, HIGH = 0, 1  # nets 0 and 1 are the constants


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
    number: dict[int | str, int] = {"0": LOW, "1": HIGH, "x": LOW, "z": LOW}

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
        pins[pin] = np.array([instance.get(pin, LOW) for instance in instances], dtype=np.int64)
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


@dataclass(frozen=True)
class Costs:
    """What switching costs in a unit, without layout."""

    toggle_fj: NDArray[np.float64]  # [nets], of one toggle of a net: its load and the cell that drives it
    load_ff: NDArray[np.float64]  # [nets], of pins and wires
    clock_fj: float  # per cycle
    leakage_nw: float


def costs(netlist: Netlist, library: Library, wire_ff: float) -> Costs:
    """C V^2 / 2 per toggle of a net, and internal energy of the cells.

    C is the input capacitance of the driven cells plus a wire of `wire_ff` per driven pin. Input ports count like other
    nets; loads of output ports outside of the unit do not count. Flip-flops: output and data pins per toggle; clock
    pins with their wires twice per cycle, in ``clock_fj``.
    """
    volts2 = library.voltage_v**2
    load = netlist.load_ff + wire_ff * netlist.fan_out
    per_toggle = 0.5 * load * volts2
    clock = 0.0
    for group in (*netlist.gates, *netlist.flip_flops):
        ff = group.cell.ff
        for pin, internal in group.cell.internal_fj.items():
            if ff is not None and pin == ff.clock:
                clock += group.count * 2 * internal
            elif pin in group.pins:
                np.add.at(per_toggle, group.pins[pin], internal)
        if ff is not None:
            clock += group.count * (group.cell.inputs_ff[ff.clock] + wire_ff) * volts2
    leakage = sum(group.count * group.cell.leakage_nw for group in (*netlist.gates, *netlist.flip_flops))
    return Costs(per_toggle, load, clock, float(leakage))
