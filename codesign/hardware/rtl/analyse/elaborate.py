"""Elaboration: a unit as gates, from the generator's record of its wires and registers.

Every expression becomes AND, XOR, selector, majority and AND-OR gates on single bits, as a synthesiser would build it
before it maps to cells: adders have a carry tree of Brent and Kung (1982), sums of three numbers a carry-save row,
reductions a balanced tree. Constants are propagated, equal gates merged, and gates that nothing reads left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, reduce

import numpy as np

from codesign.hardware.rtl.analyse.built import built
from codesign.hardware.rtl.analyse.gates import (
    AND,
    AND_OR,
    CONSTANT,
    LOGIC,
    MAJORITY,
    PORT,
    REGISTER,
    SELECT,
    XOR,
    Bits,
    Gates,
    Ints,
)
from codesign.hardware.rtl.emit.expressions import Expression
from codesign.hardware.rtl.emit.unit import Unit
from codesign.hardware.rtl.emit.verilog import SECTIONS, NetAssignment

_STATE, _PRODUCT, _COMPRESS, _CARRY, _SUM, _SELECT, _DETECT, _INVERT = range(len(LOGIC))


@lru_cache(maxsize=8)  # megabytes each
def unit_gates(unit: Unit) -> Gates:
    return gates(built(unit).assignments)


def gates(assignments: Sequence[NetAssignment]) -> Gates:
    """The gates of a module's wires and registers."""
    made = _Builder({assignment.name: assignment.width for assignment in assignments if assignment.clocked})
    for assignment in assignments:
        made.section_now = SECTIONS.index(assignment.section)
        bits = made.bits(assignment.expression, assignment.width)[: assignment.width]
        if assignment.clocked:
            made.clock(assignment.name, bits)
        else:
            made.nets[assignment.name] = bits
    return made.finished()


class _Builder:
    def __init__(self, clocked: dict[str, int]) -> None:
        self.clocked = clocked
        self.kind, self.logic, self.section = [CONSTANT], [_STATE], [SECTIONS.index("registers")]
        self.inputs: list[tuple[int, int, int]] = [(0, 0, 0)]
        self.data: dict[int, int] = {}
        self.nets: dict[str, Bits] = {}
        self.ports: dict[str, Bits] = {}
        self.known: dict[tuple[int, int, int, int], int] = {}
        self.held: dict[int, int] = {}  # literal -> the register that holds it
        self.logic_now, self.section_now = _STATE, self.section[0]

    # -- gates --------------------------------------------------------------------------------------

    def gate(self, kind: int, a: int = 0, b: int = 0, c: int = 0) -> int:
        key = (kind, a, b, c)
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = self.source(kind, (a, b, c))
        return found

    def source(self, kind: int, inputs: tuple[int, int, int] = (0, 0, 0)) -> int:
        self.kind.append(kind)
        self.logic.append(self.logic_now)
        self.section.append(self.section_now)
        self.inputs.append(inputs)
        return 2 * (len(self.kind) - 1)

    def both(self, a: int, b: int) -> int:
        if a > b:
            a, b = b, a
        if a == 0 or a ^ 1 == b:
            return 0
        if a == 1 or a == b:
            return b
        return self.gate(AND, a, b)

    def either(self, a: int, b: int) -> int:
        return self.both(a ^ 1, b ^ 1) ^ 1

    def differ(self, a: int, b: int) -> int:
        inverted = (a ^ b) & 1
        a, b = a & ~1, b & ~1
        if a > b:
            a, b = b, a
        if a == b:
            return inverted
        return (b if a == 0 else self.gate(XOR, a, b)) ^ inverted

    def choose(self, control: int, yes: int, no: int) -> int:
        if control & 1:
            control, yes, no = control ^ 1, no, yes
        if yes == no or control == 0:
            return no
        if yes <= 1:
            return self.either(control, no) if yes else self.both(control ^ 1, no)
        if no <= 1:
            return self.either(control ^ 1, yes) if no else self.both(control, yes)
        if yes ^ 1 == no:
            return self.differ(control, no)
        return self.gate(SELECT, control, yes, no)

    def majority(self, a: int, b: int, c: int) -> int:
        a, b, c = sorted((a, b, c))
        if a <= 1:
            return self.either(b, c) if a else self.both(b, c)
        if a == b or b == c:
            return b
        if a ^ 1 == b:
            return c
        if b ^ 1 == c:
            return a
        return self.gate(MAJORITY, a, b, c)

    def carried(self, generate: int, propagate: int, carry: int) -> int:
        """generate OR (propagate AND carry)."""
        if carry <= 1 or propagate <= 1 or generate <= 1 or propagate == carry:
            return self.either(generate, self.both(propagate, carry))
        return self.gate(AND_OR, generate, propagate, carry)

    # -- nets ---------------------------------------------------------------------------------------

    def clock(self, name: str, bits: Bits) -> None:
        """A register: its declared outputs, or new ones; equal ones are merged, constant ones left out."""
        self.logic_now = _STATE
        declared = self.nets.get(name)
        if declared is None:
            held = []
            for bit in bits:
                if bit > 1 and bit not in self.held:
                    self.held[bit] = self.source(REGISTER)
                    self.data[self.held[bit] >> 1] = bit
                held.append(self.held[bit] if bit > 1 else bit)
            self.nets[name] = held
            return
        for register, bit in zip(declared, bits, strict=True):
            self.data[register >> 1] = bit
            self.section[register >> 1] = self.section_now

    def read(self, name: str, low: int, width: int) -> Bits:
        found = self.nets.get(name)
        if found is None:
            found = []
            kept, self.logic_now = self.logic_now, _STATE
            if name in self.clocked:  # a register that is driven later
                found = [self.source(REGISTER) for _ in range(self.clocked[name])]
            else:
                self.ports[name] = found
            self.nets[name] = found
            self.logic_now = kept
        while name in self.ports and len(found) < low + width:
            kept, self.logic_now = self.logic_now, _STATE
            found.append(self.source(PORT))
            self.logic_now = kept
        return found[low : low + width]

    # -- expressions --------------------------------------------------------------------------------

    def bits(self, expression: Expression, width: int = 0) -> Bits:
        """The value of an expression in a context of `width` bits."""
        kind = expression.kind
        width = max(width, expression.width)
        if kind == "net":
            found = self.read(expression.reads[0], 0, expression.width)
        elif kind == "part":
            found = self.read(expression.reads[0], expression.number, expression.width)
        elif kind == "literal":
            found = [expression.number >> i & 1 for i in range(expression.width)]
        elif kind == "join":
            found = [bit for part in reversed(expression.operands) for bit in self.bits(part)]
        elif kind == "copies":
            found = self.bits(expression.operands[0]) * expression.number
        else:
            return _OPERATORS[kind](self, expression.operands, width)
        return found + [0] * (width - len(found))

    def inverted(self, operands: Sequence[Expression], width: int) -> Bits:
        return [bit ^ 1 for bit in self.bits(operands[0], width)]

    def ands(self, operands: Sequence[Expression], width: int) -> Bits:
        first, second = (self.bits(one, width) for one in operands)
        self.logic_now = _PRODUCT
        return [self.both(a, b) for a, b in zip(first, second, strict=True)]

    def ors(self, operands: Sequence[Expression], width: int) -> Bits:
        if len(operands) == 1:
            return self.any(operands, width)
        carry = _carry_of(operands)
        if carry is not None:
            found = [self.bits(one, width) for one in carry]
            self.logic_now = _COMPRESS
            return [self.majority(*bits) for bits in zip(*found, strict=True)]
        first, second = (self.bits(one, width) for one in operands)
        self.logic_now = _DETECT
        return [self.either(a, b) for a, b in zip(first, second, strict=True)]

    def xors(self, operands: Sequence[Expression], width: int) -> Bits:
        first, second = (self.bits(one, width) for one in operands)
        adds = operands[0].kind == "^" or not any(one.kind == "copies" for one in operands)
        self.logic_now = _COMPRESS if adds else _INVERT
        return [self.differ(a, b) for a, b in zip(first, second, strict=True)]

    def sums(self, operands: Sequence[Expression], width: int, negative: bool = False) -> Bits:
        rows, constant = self.summands(operands, width, negative)
        self.logic_now = _COMPRESS
        if constant:
            rows.append([constant >> i & 1 for i in range(width)])
        while len(rows) > 2:
            a, b, c = rows[:3]
            total = [self.differ(self.differ(x, y), z) for x, y, z in zip(a, b, c, strict=True)]
            carry = [self.majority(x, y, z) for x, y, z in zip(a, b, c, strict=True)]
            rows = [*rows[3:], total, [0, *carry[:-1]]]
        return self.added(rows[0], rows[1] if len(rows) > 1 else [0] * width)[0]

    def summands(self, operands: Sequence[Expression], width: int, negative: bool) -> tuple[list[Bits], int]:
        """(numbers to add, a constant to add) of a sum; what is subtracted is inverted and 1 added."""
        rows: list[Bits] = []
        constant = 0
        for place, one in enumerate(operands):
            minus = negative and place == 1
            if not minus and one.kind in "+-" and len(one.operands) == 2:
                inner, more = self.summands(one.operands, width, one.kind == "-")
                rows, constant = rows + inner, constant + more
                continue
            bits = self.bits(one, width)
            if minus:
                bits, constant = [bit ^ 1 for bit in bits], constant + 1
            if all(bit <= 1 for bit in bits):
                constant += sum(bit << i for i, bit in enumerate(bits))
            else:
                rows.append(bits)
        return rows, constant & (1 << width) - 1

    def differences(self, operands: Sequence[Expression], width: int) -> Bits:
        return self.sums(operands, width, negative=True)

    def added(self, a: Bits, b: Bits, carry: int = 0) -> tuple[Bits, int]:
        """(a + b + carry, carry out) with a carry tree of Brent and Kung."""
        self.logic_now = _CARRY
        width = len(a)
        half = [self.differ(x, y) for x, y in zip(a, b, strict=True)]
        generate = [self.both(x, y) for x, y in zip(a, b, strict=True)]
        propagate = list(half)
        if carry:
            generate[0] = self.carried(generate[0], propagate[0], carry)
        step = 1
        while step < width:
            for i in range(2 * step - 1, width, 2 * step):
                generate[i] = self.carried(generate[i], propagate[i], generate[i - step])
                propagate[i] = self.both(propagate[i], propagate[i - step])
            step *= 2
        while step > 1:
            step //= 2
            for i in range(3 * step - 1, width, 2 * step):
                generate[i] = self.carried(generate[i], propagate[i], generate[i - step])
        self.logic_now = _SUM
        return [self.differ(h, c) for h, c in zip(half, [carry, *generate[:-1]], strict=True)], generate[-1]

    def exceeds(self, operands: Sequence[Expression], width: int) -> Bits:
        """a > b: no carry out of b + ~a + 1."""
        size = max(one.width for one in operands)
        a, b = (self.bits(one, size) for one in operands)
        return self._one(self.added(b, [bit ^ 1 for bit in a], 1)[1] ^ 1, width)

    def reaches(self, operands: Sequence[Expression], width: int) -> Bits:
        """a >= b: a carry out of a + ~b + 1."""
        size = max(one.width for one in operands)
        a, b = (self.bits(one, size) for one in operands)
        return self._one(self.added(a, [bit ^ 1 for bit in b], 1)[1], width)

    def equal(self, operands: Sequence[Expression], width: int) -> Bits:
        size = max(one.width for one in operands)
        a, b = (self.bits(one, size) for one in operands)
        self.logic_now = _DETECT
        return self._one(self.tree([self.differ(x, y) ^ 1 for x, y in zip(a, b, strict=True)]), width)

    def any(self, operands: Sequence[Expression], width: int) -> Bits:
        bits = self.bits(operands[0])
        self.logic_now = _DETECT
        return self._one(self.tree([bit ^ 1 for bit in bits]) ^ 1, width)

    def none(self, operands: Sequence[Expression], width: int) -> Bits:
        return self._one(self.any(operands, 1)[0] ^ 1, width)

    def tree(self, bits: Bits) -> int:
        """AND of all bits, by a balanced tree."""
        while len(bits) > 1:
            bits = [reduce(self.both, bits[i : i + 2]) for i in range(0, len(bits), 2)]
        return bits[0]

    def selected(self, operands: Sequence[Expression], width: int) -> Bits:
        (control,) = self.bits(operands[0])
        yes, no = (self.bits(one, width) for one in operands[1:])
        self.logic_now = _SELECT
        return [self.choose(control, a, b) for a, b in zip(yes, no, strict=True)]

    def shifted(self, operands: Sequence[Expression], width: int) -> Bits:
        """A barrel shifter to the right, in front of which a distance beyond its stages clears the number."""
        found, distance = self.bits(operands[0], width), self.bits(operands[1])
        stages = (width - 1).bit_length() + 1
        self.logic_now = _DETECT
        near = self.tree([bit ^ 1 for bit in distance[stages:]] or [1])
        self.logic_now = _SELECT
        found = [self.both(near, bit) for bit in found]
        for stage, control in enumerate(distance[:stages]):
            moved = (found[1 << stage :] + [0] * width)[:width] if 1 << stage < width else [0] * width
            found = [self.choose(control, a, b) for a, b in zip(moved, found, strict=True)]
        return found

    @staticmethod
    def _one(bit: int, width: int) -> Bits:
        return [bit] + [0] * (width - 1)

    def finished(self) -> Gates:
        """Without the gates that no register depends on, numbered in topological order."""
        kind = np.array(self.kind)
        inputs = np.array(self.inputs)
        data = np.zeros(len(kind), dtype=np.int64)
        for register, bit in self.data.items():
            data[register] = bit
        used = (kind <= PORT) | (kind == REGISTER)
        used[data >> 1] = True
        for gate in range(len(kind) - 1, 0, -1):
            if used[gate] and self.kind[gate] > REGISTER:
                for literal in self.inputs[gate]:
                    used[literal >> 1] = True
        number = np.cumsum(used) - 1

        def renumbered(literals: Ints) -> Ints:
            return np.where(used[literals >> 1], 2 * number[literals >> 1] + (literals & 1), 0)

        names = {
            name: renumbered(np.array(bits, dtype=np.int64)).tolist() if bits else []
            for name, bits in self.nets.items()
        }
        return Gates(
            kind[used],
            np.array(self.logic)[used],
            np.array(self.section)[used],
            renumbered(inputs[used]),
            {name: names[name] for name in self.ports},
            renumbered(data[used]),
            names,
        )


def _carry_of(operands: Sequence[Expression]) -> tuple[Expression, Expression, Expression] | None:
    """x, y and z of a full adder's carry, x & y | z & (x | y)."""
    first, second = operands
    if first.kind == second.kind == "&" and (inner := second.operands[1]).kind == "|":
        x, y = first.operands
        if inner.operands == (x, y):
            return x, y, second.operands[0]
    return None


_OPERATORS: dict[str, Callable[[_Builder, Sequence[Expression], int], Bits]] = {
    "~": _Builder.inverted,
    "&": _Builder.ands,
    "|": _Builder.ors,
    "^": _Builder.xors,
    "+": _Builder.sums,
    "-": _Builder.differences,
    ">": _Builder.exceeds,
    ">=": _Builder.reaches,
    "==": _Builder.equal,
    "~|": _Builder.none,
    "?": _Builder.selected,
    ">>": _Builder.shifted,
}
