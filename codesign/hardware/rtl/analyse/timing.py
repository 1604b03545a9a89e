"""Static timing analysis of a unit's gates: arrival times of single bits, and the pipeline cuts that follow from them.

The delay of a path is a sum over kinds of gates (count x ps) and the doublings of the pins that each drives, so that a
path is described by one row of counts; the ps are fitted to synthesis results (`calibration.fit.area_delay`). The
longest path is found in one pass in topological order, O(gates).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf

import numpy as np
import numpy.typing as npt

from codesign.formats.compiled.number import compiled
from codesign.hardware.rtl.analyse.built import built
from codesign.hardware.rtl.analyse.elaborate import gates, unit_gates
from codesign.hardware.rtl.analyse.gates import (
    AND,
    AND_OR,
    LOGIC,
    MAJORITY,
    REGISTER,
    SELECT,
    XOR,
    Gates,
)
from codesign.hardware.rtl.emit.unit import Unit

KINDS = (
    "register",  # clock-to-output and setup time of one stage
    "and",  # AND, OR of two bits
    "carry",  # AND-OR of a carry tree
    "xor",
    "compress",  # the same in a carry-save adder, where it waits for another
    "majority",  # the carry of a carry-save adder
    "select",  # a two-way selector, from its data
    "control",  # and from the bit that controls it
    "fanout",  # per doubling of the pins that a gate drives
)
_INDEX = {kind: i for i, kind in enumerate(KINDS)}
_UNUSED = len(KINDS)  # pins that a gate does not have
# the kind of each pin's delay, by kind of gate; the last row is of exclusive ors in carry-save adders
_PINS = np.full((AND_OR + 2, 3), _UNUSED)
_PINS[AND, :2] = _INDEX["and"]
_PINS[XOR, :2] = _INDEX["xor"]
_PINS[SELECT] = _INDEX["control"], _INDEX["select"], _INDEX["select"]
_PINS[MAJORITY] = _INDEX["majority"]
_PINS[AND_OR] = _INDEX["and"], _INDEX["carry"], _INDEX["carry"]
_COMPRESS = AND_OR + 1
_PINS[_COMPRESS, :2] = _INDEX["compress"]

Counts = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@compiled
def _arrive(reads, row, pins, own, stage, times, waits):  # type: ignore[no-untyped-def]  # numba's
    """Fill times and waits of `Paths.arrivals`; pins: ps by row and pin; own: ps of what a gate drives."""
    for gate in range(len(row)):
        found = -1
        latest = 0.0
        for pin in range(3):
            delay = pins[row[gate], pin]
            if delay >= 0.0:
                read = reads[gate, pin]
                since = delay + (times[read] if stage[read] == stage[gate] else own[read])
                if found < 0 or since > latest:
                    latest, found = since, pin
        times[gate], waits[gate] = latest + own[gate], found


@dataclass(frozen=True, eq=False)
class Paths:
    """The gates of a module as a graph, in topological order."""

    reads: npt.NDArray[np.int32]  # [gates, 3], gates that each pin reads
    row: npt.NDArray[np.int8]  # [gates], of _PINS
    fan_out: npt.NDArray[np.float32]  # [gates], doublings of the pins that each drives
    ends: Ints  # gates that registers read

    @classmethod
    def of(cls, found: Gates) -> Paths:
        compress = (found.kind == XOR) & (found.logic == LOGIC.index("compress"))
        return cls(
            (found.inputs >> 1).astype(np.int32),
            np.where(compress, _COMPRESS, found.kind).astype(np.int8),
            np.log2(np.maximum(found.fan_out, 1)).astype(np.float32),
            np.unique(found.data[found.kind == REGISTER] >> 1),
        )

    def arrivals(self, ps: Sequence[float] | Counts, cuts: Sequence[int] = ()) -> tuple[Counts, Ints]:
        """(arrival time of every gate in ps after the clock edge, the pin that it waits for or -1).

        ps: of each of `KINDS`; cuts: gates up to which each pipeline stage reaches, in order. What crosses a cut comes
        from a register.
        """
        ps = np.asarray(ps, dtype=np.float64)
        own = self.fan_out * ps[_INDEX["fanout"]]
        stage = np.searchsorted(np.asarray(cuts, dtype=np.int64), np.arange(len(own)))
        times, waits = np.zeros(len(own)), np.zeros(len(own), dtype=np.int64)
        _arrive(self.reads, self.row, np.append(ps, -1.0)[_PINS], own, stage, times, waits)
        return times, waits

    def longest(self, ps: Sequence[float] | Counts) -> Counts:
        """Gates of each kind on the longest path, float64 [kinds], including its register."""
        total = np.zeros(len(KINDS))
        total[_INDEX["register"]] = 1.0
        if not len(self.ends):
            return total
        times, waits = self.arrivals(ps)
        gate = self.ends[times[self.ends].argmax()]
        while True:
            total[_INDEX["fanout"]] += self.fan_out[gate]
            pin = waits[gate]
            if pin < 0:
                return total
            total[_PINS[self.row[gate], pin]] += 1
            gate = self.reads[gate, pin]


@lru_cache(maxsize=512)  # 20 bytes a gate, tens of kilobytes for most units
def unit_paths(unit: Unit) -> Paths:
    """The graph of a unit's gates."""
    return Paths.of(unit_gates(unit))


@dataclass(frozen=True)
class Plan:
    """Pipeline cuts of a unit, which apply to all clock periods from low_ps up to, but not including, high_ps."""

    cuts: frozenset[str]  # steps that are followed by registers
    low_ps: float
    high_ps: float


@dataclass(frozen=True, eq=False)
class Steps:
    """The steps of a module without pipeline registers."""

    graph: Paths
    outputs: tuple[tuple[str, Ints], ...]  # (step, gates of its outputs), in order

    @classmethod
    def of_unit(cls, unit: Unit) -> Steps:
        uncut = built(unit.cut(()))
        return cls.of(gates(uncut.assignments), uncut.boundaries)

    @classmethod
    def of(cls, found: Gates, boundaries: Mapping[str, Sequence[str]]) -> Steps:
        """boundaries: step -> names of its output nets, in order."""
        bits = {step: [bit for net in nets for bit in found.names.get(net, ())] for step, nets in boundaries.items()}
        outputs = ((step, np.unique(np.array([bit >> 1 for bit in own if bit > 1]))) for step, own in bits.items())
        return cls(Paths.of(found), tuple((step, nodes) for step, nodes in outputs if len(nodes)))

    def plan(self, period_ps: float, ps: Counts) -> Plan:
        """Greedy cuts that keep every pipeline stage within the period; a longer single step is not split.

        ps: of each of `KINDS`.
        """
        cuts: dict[str, int] = {}  # step -> the last of its gates
        low, high = 0.0, inf
        times, _ = self.graph.arrivals(ps)
        reached, previous = 0, ""
        for step, outputs in (*self.outputs, ("", self.graph.ends)):
            inside = outputs[outputs > max(cuts.values(), default=0)]
            stage = float(ps[_INDEX["register"]]) + float(times[inside].max(initial=0.0))
            if previous:
                if stage <= period_ps:
                    low = max(low, stage)
                else:
                    high = min(high, stage)
                    cuts[previous] = reached
                    times, _ = self.graph.arrivals(ps, list(cuts.values()))
            reached, previous = max(reached, int(outputs.max(initial=0))), step
        return Plan(frozenset(cuts), low, high)
