"""A small writer of synthesizable Verilog-2001: nets, registers and the cells that abc has no name for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Net:
    """A vector of `width` bits, or an unsigned constant when `name` is a literal.

    constant_bits: how many of them never change, and so need no register.
    """

    name: str
    width: int
    constant_bits: int = 0

    def __str__(self) -> str:
        return self.name

    def bit(self, index: int) -> str:
        """One bit, as an expression."""
        return f"{self.name}[{index}]"

    def part(self, high: int, low: int) -> str:
        """Bits high..low, as an expression."""
        return f"{self.name}[{high}:{low}]"

    def bits(self) -> list[str]:
        """Every bit, lowest first."""
        return [self.bit(i) for i in range(self.width)]


def constant(value: int, width: int) -> str:
    """`value` modulo 2**width as a literal."""
    return f"{width}'h{value & ((1 << width) - 1):x}"


class Module:
    """One module under construction; every net is a packed vector, every register is clocked by `clk`.

    parts: its bill of materials, one-bit cells by the kinds of `codesign.hardware.rtl.analyse.parts`, kept by
    whoever adds them with `uses`.
    """

    def __init__(self, name: str) -> None:
        self.parts: Counter[str] = Counter()
        self.name = name
        self.ports: list[str] = []
        self.lines: list[str] = []
        self._count = 0

    def comment(self, text: str) -> None:
        self.lines.append(f"  // {text}")

    def uses(self, part: str, count: int) -> None:
        """Note `count` one-bit cells of a kind."""
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

    def wire(self, width: int, expression: str, hint: str = "n") -> Net:
        """A net that is `expression` truncated or zero-extended to `width` bits."""
        name = self.name_of(hint)
        self.lines.append(f"  wire [{width - 1}:0] {name} = {expression};")
        return Net(name, width)

    def register(self, source: Net, hint: str = "r") -> Net:
        """`source` one clock later."""
        if not source.name.startswith("1'b"):
            self.uses("register", source.width - source.constant_bits)
        name = self.name_of(hint)
        self.lines.append(f"  reg [{source.width - 1}:0] {name};")
        self.lines.append(f"  always @(posedge clk) {name} <= {source};")
        return Net(name, source.width)

    def late(self, width: int, hint: str) -> Net:
        """A register whose input is given afterwards with `drive` (feedback loops)."""
        self.uses("register", width)
        name = self.name_of(hint)
        self.lines.append(f"  reg [{width - 1}:0] {name};")
        return Net(name, width)

    def drive(self, register: Net, source: Net | str) -> None:
        self.lines.append(f"  always @(posedge clk) {register} <= {source};")

    def select(self, index: Net | None, choices: Sequence[str], width: int) -> str:
        """``choices[index]`` of `width` bits; the last one also for what lies beyond. Nothing where all agree."""
        if index is None or all(choice == choices[0] for choice in choices):
            return choices[0]
        self.uses("mode_select", width * (len(set(choices)) - 1))
        expression = choices[-1]
        for i in range(len(choices) - 2, -1, -1):
            expression = f"({index} == {constant(i, index.width)}) ? {choices[i]} : ({expression})"
        return f"({expression})"

    def text(self) -> str:
        ports = ",\n  ".join(["input clk", *self.ports])
        return f"module {self.name} (\n  {ports}\n);\n" + "\n".join(self.lines) + "\nendmodule\n"


def concatenation(bits: Iterable[str]) -> str:
    """Bits given lowest first as one vector."""
    return "{" + ", ".join(reversed(list(bits))) + "}"
