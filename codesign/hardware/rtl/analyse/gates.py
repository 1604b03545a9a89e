"""A module as gates on single bits: what area, delay and switching are of (`elaborate` makes them).

Inverters are free: an operand is a literal, 2 x gate + 1 for the complement of the gate.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

CONSTANT, PORT, REGISTER, AND, XOR, SELECT, MAJORITY, AND_OR = range(8)
INPUTS = {AND: 2, XOR: 2, SELECT: 3, MAJORITY: 3, AND_OR: 3}
# the kinds of logic that gates belong to, by the operation that they were built for
LOGIC = ("state", "product", "compress", "carry", "sum", "select", "detect", "invert")

Ints = npt.NDArray[np.int64]
Bits = list[int]  # literals, least significant first


@dataclass(frozen=True, eq=False)
class Gates:
    """A module as gates in topological order; gate 0 is the constant 0."""

    kind: Ints  # [gates]
    logic: Ints  # [gates], index of LOGIC
    section: Ints  # [gates], index of `emit.verilog.SECTIONS`
    inputs: Ints  # [gates, 3] literals; 0 where a gate has fewer
    ports: dict[str, Bits]  # port -> literals of its bits
    data: Ints  # [gates], the literal that a register holds a cycle later; 0 for other gates
    names: dict[str, Bits]  # net -> literals of its bits, 0 for bits that nothing reads

    @property
    def count(self) -> int:
        return len(self.kind)

    @property
    def registers(self) -> int:
        return int((self.kind == REGISTER).sum())

    @cached_property
    def fan_out(self) -> Ints:
        """Pins that each gate drives, [gates]."""
        pins = [self.inputs[self.kind == kind, :count].ravel() for kind, count in INPUTS.items()]
        pins.append(self.data[self.kind == REGISTER])
        return np.bincount(np.concatenate(pins) >> 1, minlength=self.count)
