"""Static timing of a module at the level of its vectors: every expression adds levels of logic to what it reads.

A path's delay is a sum over kinds of logic, so that the longest path is one row of counts; ps per level of each kind
are fitted to synthesis (`calibration.fit.area_delay`). Only what `Module` writes is understood.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf, log2

import numpy as np
import numpy.typing as npt

from codesign.hardware.rtl.emit.pipeline import STEPS
from codesign.hardware.rtl.emit.unit import Unit, build

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
_WIRE = re.compile(r"^  wire \[(\d+):0\] (\w+) = (.*);$")
_CLOCKED = re.compile(r"^  always @\(posedge clk\) (\w+) <= (.*);$")
_INPUT = re.compile(r"^  input \[(\d+):0\] (\w+)")
_REGISTER = re.compile(r"^  reg \[(\d+):0\] (\w+);$")
_LITERAL = re.compile(r"\d+'[bh][0-9a-f]+")
_NET = re.compile(r"([a-z]\w*)(?:\[(\d+)(?::(\d+))?\])?")
_REPLICATED = re.compile(r"\{(\d+)\{")
_REDUCED = re.compile(r"(?<![\w\]})] )\|([a-z]\w*)(?:\[(\d+)(?::(\d+))?\])?")
_COMPARED = re.compile(r" (?:>|>=|<|<=) ")

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
    return paths(build(unit).text)


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
        built = build(unit.cut(()))
        graph = paths(built.text)
        found = {
            step: tuple(graph.names[net] for net in built.boundaries[step] if net in graph.names)
            for step in STEPS
            if step in built.boundaries
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


def paths(text: str) -> Paths:
    """The graph of a module's text."""
    widths: dict[str, int] = {}
    names: dict[str, int] = {}
    levels: list[Counts] = []
    reads: list[tuple[int, ...]] = []
    ends: list[int] = []

    def node(expression: str, width: int) -> int:
        clean = _LITERAL.sub("", expression)
        used = dict.fromkeys(match[1] for match in _NET.finditer(clean))
        levels.append(_levels(expression, clean, width, widths))
        reads.append(tuple(names[name] for name in used if name in names))
        return len(levels) - 1

    for line in text.splitlines():
        if match := _WIRE.match(line):
            widths[match[2]] = int(match[1]) + 1
            names[match[2]] = node(match[3], widths[match[2]])
        elif match := _CLOCKED.match(line):
            ends.append(node(match[2], widths.get(match[1], 1)))
        elif match := _REGISTER.match(line) or _INPUT.match(line):
            widths[match[2]] = int(match[1]) + 1
    return Paths(np.array(levels), tuple(reads), tuple(ends), names)


def _levels(expression: str, clean: str, width: int, widths: Mapping[str, int]) -> Counts:
    found = np.zeros(len(KINDS))

    def add(kind: str, count: float = 1.0) -> None:
        found[_INDEX[kind]] += count

    operations = clean.count(" + ") + clean.count(" - ")
    if operations:
        add("adder")
        add("carry", log2(max(width, 2)))
        add("compress", operations - 1)
    if _COMPARED.search(clean):
        add("adder")
        add("carry", log2(max(_bits(clean, widths) / 2, 2)))
    if " ? " in clean:
        add("select", 1 + clean.count(" ? ") / 4 if " == " in clean else 1.0)
        add("fanout", log2(max(width, 1)))
    if " == " in clean:
        add("detect")
    if " >> " in clean:
        add("select", log2(max(width, 2)))
    xors = clean.count(" ^ ")
    if xors == 2 and " + " not in clean:
        add("compress")
    elif xors:
        add("xor")
    gates = clean.count(" & ") + clean.count(" | ")
    if gates >= 4 and not _REDUCED.search(clean):
        add("compress")
    elif gates:
        add("gate")
    copies = [int(match[1]) for match in _REPLICATED.finditer(clean)]
    if copies and (gates or xors):
        add("fanout", log2(max(copies)))
    reduced = [_width(m, widths) for m in _REDUCED.finditer(clean)]
    if reduced:
        add("detect", log2(max(*reduced, 2)))
    return found


def _width(match: re.Match[str], widths: Mapping[str, int]) -> int:
    name, high, low = match[1], match[2], match[3]
    if high is None:
        return widths.get(name, 1)
    return int(high) - int(low) + 1 if low is not None else 1


def _bits(clean: str, widths: Mapping[str, int]) -> int:
    return sum(_width(match, widths) for match in _NET.finditer(clean.split(" ? ")[0]))
