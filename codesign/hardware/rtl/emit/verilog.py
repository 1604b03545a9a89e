"""Builds a module of synthesizable Verilog-2001 from nets, wires and registers, and counts its one-bit cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from codesign.hardware.rtl.emit.expressions import Expression, Value, constant


@dataclass(frozen=True)
class Net(Value):
    """A vector of `width` bits, or an unsigned constant when `name` is a literal."""

    name: str
    width: int
    constant_bits: int = 0  # number of bits that never change and therefore need no register

    def __str__(self) -> str:
        return self.name

    @property
    def is_literal(self) -> bool:
        return self.name[0].isdigit()

    @cached_property
    def expression(self) -> Expression:
        return Expression(self.name) if self.is_literal else Expression(self.name, (self.name,), self.width)

    def bit(self, index: int) -> Expression:
        """Bit-select: the bit at `index`."""
        return Expression(f"{self.name}[{index}]", (self.name,), 1)

    def part(self, high: int, low: int) -> Expression:
        """Part-select: bits high..low."""
        return Expression(f"{self.name}[{high}:{low}]", (self.name,), high - low + 1)

    def bits(self) -> list[Expression]:
        """All bits, least significant first."""
        return [self.bit(i) for i in range(self.width)]


@dataclass(frozen=True)
class NetAssignment:
    """A wire, or a register if `clocked`, driven by `expression` truncated or zero-extended to `width` bits."""

    name: str
    width: int
    expression: Expression
    clocked: bool = False


class Module:
    """A module under construction; every net is a packed vector, every register is clocked by `clk`."""

    def __init__(self, name: str) -> None:
        # bill of materials: one-bit cells by the kinds of `codesign.hardware.rtl.analyse.parts`, counted by `uses`
        self.parts: Counter[str] = Counter()
        self.name = name
        self.ports: list[str] = []
        self.lines: list[str] = []
        self.assignments: list[NetAssignment] = []  # of every wire and register, in the order of the text
        self._count = 0

    def comment(self, text: str) -> None:
        self.lines.append(f"  // {text}")

    def uses(self, part: str, count: int) -> None:
        """Add `count` one-bit cells of the kind `part` to the bill of materials."""
        self.parts[part] += count

    def input(self, name: str, width: int) -> Net:
        self.ports.append(f"input [{width - 1}:0] {name}")
        return Net(name, width)

    def output(self, name: str, source: Net) -> Net:
        self.ports.append(f"output [{source.width - 1}:0] {name}")
        self.lines.append(f"  assign {name} = {source};")
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
        self.lines.append(f"  wire [{width - 1}:0] {name} = {found.text};")
        self.assignments.append(NetAssignment(name, width, found))
        return Net(name, width)

    def register(self, source: Net, hint: str = "r") -> Net:
        """A new register: `source`, one clock cycle later."""
        if not source.is_literal:
            self.uses("register", source.width - source.constant_bits)
        register = self._declared(source.width, hint)
        self.drive(register, source)
        return register

    def late(self, width: int, hint: str) -> Net:
        """A register whose input is set later by `drive` (for feedback loops)."""
        self.uses("register", width)
        return self._declared(width, hint)

    def _declared(self, width: int, hint: str) -> Net:
        name = self.name_of(hint)
        self.lines.append(f"  reg [{width - 1}:0] {name};")
        return Net(name, width)

    def drive(self, register: Net, source: Value) -> None:
        """Set the input of a register, which it holds one clock cycle later."""
        found = source.expression
        self.lines.append(f"  always @(posedge clk) {register} <= {found.text};")
        self.assignments.append(NetAssignment(register.name, register.width, found, clocked=True))

    def select(self, index: Net | None, choices: Sequence[Value], width: int) -> Expression:
        """``choices[index]`` of `width` bits; the last one for larger indices; no selector where all are equal."""
        found = [choice.expression for choice in choices]
        distinct = len(set(found))
        if index is None or distinct == 1:
            return found[0]
        self.uses("mode_select", width * (distinct - 1))
        expression = found[-1]
        for i in range(len(found) - 2, -1, -1):
            expression = index.equals(constant(i, index.width)).grouped().choose(found[i], expression.grouped())
        return expression.grouped()

    def text(self) -> str:
        ports = ",\n  ".join(["input clk", *self.ports])
        return f"module {self.name} (\n  {ports}\n);\n" + "\n".join(self.lines) + "\nendmodule\n"
