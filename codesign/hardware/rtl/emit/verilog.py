"""Builds a module of synthesizable Verilog-2001 from nets, wires and registers, of which it keeps a record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from codesign.hardware.rtl.emit.expressions import ONE, ZERO, Expression, Value, bit_of, constant, joined, part_of

# Sections of a datapath. Multipliers hold decoders and exponents, too; the tree of integers holds the adders of their
# multipliers, as it sums all partial products at once.
SECTIONS = ("multipliers", "alignment", "tree", "scales", "accumulator", "registers")


@dataclass(frozen=True)
class Net(Value):
    """A vector of `width` bits, or an unsigned constant when `name` is a literal."""

    name: str
    width: int

    def __str__(self) -> str:
        return self.name

    @property
    def is_literal(self) -> bool:
        return self.name[0].isdigit()

    @cached_property
    def expression(self) -> Expression:
        if self.is_literal:
            return constant(int(self.name.split("'b")[1], 2), self.width)
        return Expression(self.name, (self.name,), width=self.width)

    def bit(self, index: int) -> Expression:
        """Bit-select: the bit at `index`."""
        return bit_of(self.name, index)

    def part(self, high: int, low: int) -> Expression:
        """Part-select: bits high..low."""
        return part_of(self.name, high, low)

    def bits(self) -> list[Expression]:
        """All bits, least significant first."""
        return [self.bit(i) for i in range(self.width)]


@dataclass(frozen=True)
class NetAssignment:
    """A wire, or a register if `clocked`, driven by `expression` truncated or zero-extended to `width` bits."""

    name: str
    width: int
    expression: Expression
    section: str  # of `SECTIONS`
    clocked: bool = False


class Module:
    """A module under construction; every net is a packed vector, every register is clocked by `clk`."""

    def __init__(self, name: str, enable: bool = False) -> None:
        self._section = "registers"
        self.name = name
        self.enable = enable  # an input `en` without which registers keep their contents
        self.ports: list[str] = ["input en"] if enable else []
        self.lines: list[tuple[str, str]] = []  # (net that it declares or drives, or "", text)
        self.ignored: list[Expression] = []
        self.assignments: list[NetAssignment] = []  # of every wire and register, in the order of the text
        self._count = 0
        self._outputs: list[str] = []
        self._used: set[str] = set()
        self._kept = ""  # the register of a feedback loop
        self._in_modes: dict[tuple[bool, ...], Net] = {}

    def comment(self, text: str) -> None:
        self.lines.append(("", f"  // {text}"))

    def ignore(self, bits: Expression) -> None:
        """Say that these bits of a net are dropped on purpose, so that a linter does not ask."""
        self.ignored.append(bits)

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """The wires that follow belong to this section of the datapath."""
        before, self._section = self._section, name
        try:
            yield
        finally:
            self._section = before

    def input(self, name: str, width: int) -> Net:
        self.ports.append(f"input [{width - 1}:0] {name}")
        return Net(name, width)

    def output(self, name: str, source: Net) -> Net:
        self.ports.append(f"output [{source.width - 1}:0] {name}")
        self.lines.append(("", f"  assign {name} = {source};"))
        self._outputs.append(source.name)
        return Net(name, source.width)

    def name_of(self, hint: str) -> str:
        self._count += 1
        return f"{hint}_{self._count}"

    def wire(self, width: int, expression: Value, hint: str = "n") -> Net:
        """A new wire: `expression` truncated or zero-extended to `width` bits."""
        return self.define(self.name_of(hint), width, expression)

    def define(self, name: str, width: int, expression: Value) -> Net:
        """Like `wire`, with a name that `name_of` returned before."""
        found = expression.expression
        self.lines.append((name, f"  wire [{width - 1}:0] {name} = {found.text};"))
        self.assignments.append(NetAssignment(name, width, found, self._section))
        return Net(name, width)

    def register(self, source: Net, hint: str = "r") -> Net:
        """A new register: `source`, one clock cycle later."""
        register = self._declared(source.width, self.name_of(hint))
        self.drive(register, source)
        return register

    def late(self, width: int, hint: str) -> Net:
        """A register whose input is set later by `drive` (for feedback loops)."""
        self._kept = self.name_of(hint)
        return self._declared(width, self._kept)

    def _declared(self, width: int, name: str) -> Net:
        self.lines.append((name, f"  reg [{width - 1}:0] {name};"))
        return Net(name, width)

    def drive(self, register: Net, source: Value) -> None:
        """Set the input of a register, which it holds one clock cycle later."""
        found = source.expression
        when = "if (en) " if self.enable else ""
        self.lines.append((register.name, f"  always @(posedge clk) {when}{register} <= {found.text};"))
        section = "accumulator" if register.name == self._kept else "registers"
        self.assignments.append(NetAssignment(register.name, register.width, found, section, clocked=True))

    def select(self, index: Net | None, choices: Sequence[Value], width: int) -> Expression:
        """``choices[index]`` of `width` bits; the last one for larger indices; no selector where all are equal."""
        found = [choice.expression for choice in choices]
        distinct = len(set(found))
        if index is None or distinct == 1:
            return found[0]
        expression = found[-1]
        for i in range(len(found) - 2, -1, -1):
            expression = index.equals(constant(i, index.width)).grouped().choose(found[i], expression.grouped())
        return expression.grouped()

    def in_modes(self, index: Net | None, chosen: Sequence[bool]) -> Value:
        """One bit: whether the mode `index` is one of those chosen."""
        if index is None or all(chosen) or not any(chosen):
            return ONE if all(chosen) else ZERO
        key = tuple(chosen)
        if key not in self._in_modes:
            bits = self.select(index, [ONE if one else ZERO for one in chosen], 1)
            self._in_modes[key] = self.wire(1, bits, "in_mode")
        return self._in_modes[key]

    def text(self) -> str:
        ports = ",\n  ".join(["input clk", *self.ports])
        lines = [text for _, text in self.lines]
        ignored = [bits for bits in self.ignored if all(name in self._used for name in bits.reads)]
        if ignored:
            lines.append(f"  wire unused = &{joined(ZERO, *ignored)};  // bits that are dropped on purpose")
        return f"module {self.name} (\n  {ports}\n);\n" + "\n".join(lines) + "\nendmodule\n"

    def prune(self) -> None:
        """Drop the nets that no output depends on."""
        drivers: dict[str, list[NetAssignment]] = {}
        for assignment in self.assignments:
            drivers.setdefault(assignment.name, []).append(assignment)
        waiting = list(self._outputs)
        used: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name not in used:
                used.add(name)
                waiting.extend(read for assignment in drivers.get(name, ()) for read in assignment.expression.reads)
        self.assignments = [x for x in self.assignments if x.name in used]
        self.lines = [line for line in self.lines if not line[0] or line[0] in used]
        self._used = used
