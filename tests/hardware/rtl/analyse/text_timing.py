"""Levels of logic read from the text of a module: a second opinion on what the generator notes of its expressions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import log2

import numpy as np

from codesign.hardware.rtl.analyse.timing import KINDS, Counts, Paths

_WIRE = re.compile(r"^  wire \[(\d+):0\] (\w+) = (.*);$")
_CLOCKED = re.compile(r"^  always @\(posedge clk\) (\w+) <= (.*);$")
_INPUT = re.compile(r"^  input \[(\d+):0\] (\w+)")
_REGISTER = re.compile(r"^  reg \[(\d+):0\] (\w+);$")
_LITERAL = re.compile(r"\d+'[bh][0-9a-f]+")
_NET = re.compile(r"([a-z]\w*)(?:\[(\d+)(?::(\d+))?\])?")
_REPLICATED = re.compile(r"\{(\d+)\{")
_REDUCED = re.compile(r"(?<![\w\]})] )\|([a-z]\w*)(?:\[(\d+)(?::(\d+))?\])?")
_COMPARED = re.compile(r" (?:>|>=|<|<=) ")


def text_paths(text: str) -> Paths:
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
        found[KINDS.index(kind)] += count

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
