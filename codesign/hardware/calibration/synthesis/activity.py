"""Toggles of a synthesised unit by gate-level simulation, with 64 streams per word.

Settled: each net toggles at most once per cycle. Timed: with the delay of every gate (`gate_steps`), so that paths of
unequal length cause several toggles. Given the settled state of every cycle, which is computed first, the cycles are
independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codesign.errors import InputError
from codesign.hardware.calibration.liberty.delays import CellDelay
from codesign.hardware.calibration.synthesis.circuit import circuit, levels
from codesign.hardware.calibration.synthesis.netlist import HIGH, Netlist
from codesign.hardware.rtl.analyse.events import ALL, Ints, Words, changes, ones, settle, transitions

_STEPS_PER_DELAY = 4  # steps of time in the median delay of the gates
_LONGEST = 63  # steps: longer delays (of gates with enormous loads) are cut

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Activity:
    """Toggles per net and transition, float64 [nets, groups of streams], and outputs of a simulation."""

    settled: Floats  # at most one
    glitches: Floats  # all others
    outputs: dict[str, Words]  # port -> bits [cycles, width, words], settled before the next clock edge


def gate_steps(netlist: Netlist, delays: Mapping[tuple[str, str], CellDelay], load_ff: Floats) -> Ints:
    """Steps of time of the gate that drives each net, [nets], by static timing with slews.

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
    for level in levels(netlist):
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
    return np.clip(np.rint(steps), 1, _LONGEST).astype(np.int64)


def simulate(
    netlist: Netlist,
    stimulus: Mapping[str, Words],
    counted: Sequence[int],
    timed: Sequence[int],
    steps: Ints,
    masks: Words,
) -> Activity:
    """Simulate a netlist and count toggles.

    stimulus: port -> bits, uint64 [cycles, width, words]. Each stream is an independent run with initial flip-flop
    states of 0. In cycle t the inputs of row t are applied, the gates settle, outputs are sampled, and the clock ticks.
    counted: the cycles whose settled toggles are counted; timed: those whose glitches are, in `steps` of time per net.
    masks: [groups, words], the streams that are counted apart. Set and reset act at the clock edge. Raises InputError
    if ports and stimulus do not match, or on a combinational loop.
    """
    cycles, words = _shape(netlist, stimulus)
    for chosen in (counted, timed):
        if not (len(chosen) and min(chosen) >= 1 and max(chosen) < cycles):
            raise InputError(f"{cycles} cycles, of which {list(chosen)} are to be counted: nothing to count")
    found = circuit(netlist)
    values = np.zeros((cycles, words, found.whole.nets), dtype=np.uint64)
    values[:, :, HIGH] = ALL
    for name, bits in stimulus.items():
        values[:, :, netlist.inputs[name]] = bits.transpose(0, 2, 1)
    settle(found.whole, values, found.states, found.following)
    outputs = {name: values[:, :, nets].transpose(0, 2, 1) for name, nets in netlist.outputs.items()}
    when, streams = np.array(timed), ones(masks)
    then, now = (np.ascontiguousarray(values[times].reshape(-1, values.shape[2])) for times in (when - 1, when))
    every = transitions(found.gates, then, now, steps[found.gates.out], np.tile(masks, len(when)))
    settled = changes(values, counted, masks) / (len(counted) * streams)
    glitches = (every - changes(values, timed, masks)) / (len(timed) * streams)
    return Activity(settled[: netlist.nets], glitches[: netlist.nets], outputs)


def _shape(netlist: Netlist, stimulus: Mapping[str, Words]) -> tuple[int, int]:
    needed = {name for name, nets in netlist.inputs.items() if netlist.clock is None or netlist.clock not in nets}
    if needed != set(stimulus):
        raise InputError(f"{netlist.top} has the input ports {sorted(needed)}; the stimulus gives {sorted(stimulus)}")
    shapes = {(len(array), *array.shape[2:]) for array in stimulus.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2 or 0 in next(iter(shapes)):
        raise InputError(
            f"the stimulus must be arrays [cycles, bits, words] of one shape, got {sorted(map(str, shapes))}"
        )
    cycles, words = next(iter(shapes))
    return cycles, words
