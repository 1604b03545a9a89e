"""Static timing of a module at the level of its vectors: every expression adds levels of logic to what it reads.

A path's delay is a sum over kinds of logic, so that the longest path is one row of counts; ps per level of each kind
are fitted to synthesis (`calibration.fit.area_delay`). What an expression does is read from what `Module` notes of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf, log2

import numpy as np
import numpy.typing as npt

from codesign.hardware.rtl.analyse.built import built
from codesign.hardware.rtl.emit.expressions import Operation
from codesign.hardware.rtl.emit.pipeline import STEPS
from codesign.hardware.rtl.emit.unit import Unit
from codesign.hardware.rtl.emit.verilog import NetAssignment

KINDS = (
    "register",  # clock to output and set-up of one stage
    "adder",  # an adder with a carry chain
    "carry",  # each doubling of its width
    "compress",  # a carry-save adder
    "xor",
    "gate",  # AND, OR
    "select",  # a two-way selector
    "fanout",  # each doubling of the bits that one bit controls
    "detect",  # each doubling of the bits that are ORed or compared
)
_INDEX = {kind: i for i, kind in enumerate(KINDS)}
_SIZED = ("compare", "reduce", "replicate")  # operations whose size counts

Counts = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Paths:
    """A module as a graph of expressions in the order of the data.

    levels: float64 [nodes, kinds]; reads: the nodes that each one reads; ends: nodes that registers hold;
    names: node of each net.
    """

    levels: Counts
    reads: tuple[tuple[int, ...], ...]
    ends: tuple[int, ...]
    names: Mapping[str, int]

    def arrivals(self, ps: Sequence[float] | Counts, registered: Collection[int] = ()) -> tuple[list[float], list[int]]:
        """ps after the clock edge at which every node settles, and the node it waits for (-1: none).

        registered: nodes that are read from a register.
        """
        own = (self.levels @ np.asarray(ps)).tolist()
        times, seen, waits = [0.0] * len(own), [0.0] * len(own), [-1] * len(own)
        for node, (delay, reads) in enumerate(zip(own, self.reads, strict=True)):
            latest, since = -1, 0.0
            for read in reads:
                if seen[read] > since:
                    latest, since = read, seen[read]
            times[node], waits[node] = since + delay, latest
            seen[node] = 0.0 if node in registered else since + delay
        return times, waits

    def longest(self, ps: Sequence[float] | Counts) -> Counts:
        """Levels of each kind on the path that takes longest, float64 [kinds]; a register's own included."""
        times, waits = self.arrivals(ps)
        node = max(self.ends, key=times.__getitem__)
        total = np.zeros(len(KINDS))
        total[_INDEX["register"]] = 1.0
        while node >= 0:
            total += self.levels[node]
            node = waits[node]
        return total


@lru_cache(maxsize=4096)
def unit_paths(unit: Unit) -> Paths:
    """The graph of a unit's Verilog."""
    return paths(built(unit).assignments)


@dataclass(frozen=True)
class Plan:
    """Where to cut a unit; the same for all periods from low_ps to below high_ps."""

    cuts: frozenset[str]
    low_ps: float
    high_ps: float


@dataclass(frozen=True)
class Steps:
    """An uncut unit and the nodes that each of its steps hands on, in the order of the data."""

    graph: Paths
    handed: tuple[tuple[str, tuple[int, ...]], ...]

    @classmethod
    def of(cls, unit: Unit) -> Steps:
        uncut = built(unit.cut(()))
        graph = paths(uncut.assignments)
        found = {
            step: tuple(graph.names[net] for net in uncut.boundaries[step] if net in graph.names)
            for step in STEPS
            if step in uncut.boundaries
        }
        return cls(graph, tuple((step, nodes) for step, nodes in found.items() if nodes))

    def plan(self, period_ps: float, level_ps: Mapping[str, float]) -> Plan:
        """Cuts that keep every stage within the period where a step alone does, as few as one pass finds.

        level_ps: ps of a level by kind (all of `KINDS`).
        """
        ps = np.array([level_ps[kind] for kind in KINDS])
        cuts: set[str] = set()
        registered: set[int] = set()
        low, high = 0.0, inf
        times, _ = self.graph.arrivals(ps)
        previous: tuple[str, tuple[int, ...]] | None = None
        for step, nodes in (*self.handed, ("", self.graph.ends)):
            stage = level_ps["register"] + max(times[node] for node in nodes)
            if previous is not None:
                if stage <= period_ps:
                    low = max(low, stage)
                else:
                    high = min(high, stage)
                    cuts.add(previous[0])
                    registered.update(previous[1])
                    times, _ = self.graph.arrivals(ps, registered)
            previous = step, nodes
        return Plan(frozenset(cuts), low, high)


def paths(assignments: Sequence[NetAssignment]) -> Paths:
    """The graph of a module's wires and registers."""
    names: dict[str, int] = {}
    reads: list[tuple[int, ...]] = []
    ends: list[int] = []
    for node, assignment in enumerate(assignments):
        used = dict.fromkeys(assignment.expression.reads)
        reads.append(tuple(names[name] for name in used if name in names))
        if assignment.clocked:
            ends.append(node)
        else:
            names[assignment.name] = node
    levels = np.array([_levels(assignment.expression.operations, assignment.width) for assignment in assignments])
    return Paths(levels, tuple(reads), tuple(ends), names)


@lru_cache(maxsize=16384)
def _levels(operations: tuple[Operation, ...], width: int) -> tuple[float, ...]:
    """Levels of each kind of logic that an expression of `width` bits adds, by KINDS."""
    found = dict.fromkeys(KINDS, 0.0)

    def add(kind: str, count: float = 1.0) -> None:
        found[kind] += count

    count = Counter(operation.kind for operation in operations)
    sizes = {kind: [size for found_kind, size in operations if found_kind == kind] for kind in _SIZED if count[kind]}
    sums = count["+"] + count["-"]
    if sums:
        add("adder")
        add("carry", log2(max(width, 2)))
        add("compress", sums - 1)
    for compared in sizes.get("compare", ()):
        add("adder")
        add("carry", log2(max(compared / 2, 2)))
    if count["?"]:
        # a selector by mode is a chain of comparisons and selectors: each of them adds a quarter of a level
        add("select", 1 + count["?"] / 4 if count["=="] else 1.0)
        add("fanout", log2(max(width, 1)))
    if count["=="]:
        add("detect")
    if count[">>"]:
        add("select", log2(max(width, 2)))
    if count["^"] == 2 and not count["+"]:  # the sum of a full adder
        add("compress")
    elif count["^"]:
        add("xor")
    gates = count["&"] + count["|"]
    if gates >= 4 and not count["reduce"]:  # the carry of a full adder
        add("compress")
    elif gates:
        add("gate")
    if count["replicate"] and (gates or count["^"]):
        add("fanout", log2(max(sizes["replicate"])))
    if count["reduce"]:
        add("detect", log2(max(*sizes["reduce"], 2)))
    return tuple(found.values())
