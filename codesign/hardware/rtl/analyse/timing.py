"""Static timing analysis of a module at word level: every expression adds levels of logic to the nets that it reads.

The delay of a path is a sum over kinds of logic (levels x ps per level), so that a path is described by one row of
counts; the ps per level are fitted to synthesis results (`calibration.fit.area_delay`). The longest path is found in
one pass in topological order, O(nodes + edges).
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
    "register",  # clock-to-output and setup time of one stage
    "adder",  # an adder with a carry chain
    "carry",  # per doubling of its width
    "compress",  # a carry-save adder
    "xor",
    "gate",  # AND, OR
    "select",  # a two-way selector
    "fanout",  # per doubling of the bits that one bit controls
    "detect",  # per doubling of the bits that are ORed or compared
)
_INDEX = {kind: i for i, kind in enumerate(KINDS)}
_SIZED = ("compare", "reduce", "replicate")  # operations whose levels depend on their size

Counts = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Paths:
    """A module as a graph of expressions in topological order."""

    levels: Counts  # float64 [nodes, kinds]
    reads: tuple[tuple[int, ...], ...]  # nodes that each node reads
    ends: tuple[int, ...]  # nodes that are inputs of registers
    names: Mapping[str, int]  # net -> node

    def arrivals(self, ps: Sequence[float] | Counts, registered: Collection[int] = ()) -> tuple[list[float], list[int]]:
        """(arrival time of every node in ps after the clock edge, its latest predecessor or -1).

        ps: per level, [kinds]; registered: nodes followed by a pipeline register.
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
        """Levels of each kind on the longest path, float64 [kinds], including its register."""
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
    """Pipeline cuts of a unit, which apply to all clock periods from low_ps up to, but not including, high_ps."""

    cuts: frozenset[str]  # steps that are followed by registers
    low_ps: float
    high_ps: float


@dataclass(frozen=True)
class Steps:
    """The steps of a unit without pipeline registers."""

    graph: Paths
    outputs: tuple[tuple[str, tuple[int, ...]], ...]  # (step, nodes of its outputs), in order

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
        """Greedy cuts that keep every pipeline stage within the period; a longer single step is not split.

        level_ps: kind -> ps per level, for all of `KINDS`.
        """
        ps = np.array([level_ps[kind] for kind in KINDS])
        cuts: set[str] = set()
        registered: set[int] = set()
        low, high = 0.0, inf
        times, _ = self.graph.arrivals(ps)
        previous: tuple[str, tuple[int, ...]] | None = None
        for step, nodes in (*self.outputs, ("", self.graph.ends)):
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
        # a selector by mode is a chain of comparisons and selectors, each of which adds a quarter of a level
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
