"""Verilog expressions with the nets that they read and their structure, which the analysis needs.

No operator adds parentheses or truncates its result: use `grouped` and `Module.wire`.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

_COMPARISONS = ("==", ">", ">=")


class Value(abc.ABC):
    """A net or an expression: an operand of the Verilog operators."""

    @property
    @abc.abstractmethod
    def expression(self) -> Expression:
        """The right-hand side of an assignment that reads this value."""

    def __add__(self, other: Value) -> Expression:
        return _binary(self, "+", other)

    def __sub__(self, other: Value) -> Expression:
        return _binary(self, "-", other)

    def __xor__(self, other: Value) -> Expression:
        return _binary(self, "^", other)

    def __and__(self, other: Value) -> Expression:
        return _binary(self, "&", other)

    def __or__(self, other: Value) -> Expression:
        return _binary(self, "|", other)

    def __invert__(self) -> Expression:
        own = self.expression
        return Expression(f"~{own.text}", own.reads, "~", (own,), own.width)

    def shifted_right(self, distance: Value) -> Expression:
        """Logical shift right by a distance that is not constant."""
        return _binary(self, ">>", distance)

    def equals(self, other: Value) -> Expression:
        """One bit: whether the values are equal. (``==`` compares the Python objects instead.)"""
        return _binary(self, "==", other)

    def exceeds(self, other: Value) -> Expression:
        """One bit: whether this unsigned number is greater than `other`."""
        return _binary(self, ">", other)

    def reaches(self, other: Value) -> Expression:
        """One bit: whether this unsigned number is greater than or equal to `other`."""
        return _binary(self, ">=", other)

    def choose(self, yes: Value, no: Value) -> Expression:
        """`yes` where this bit is set, else `no`."""
        own, first, second = self.expression, yes.expression, no.expression
        return Expression(
            f"{own.text} ? {first.text} : {second.text}",
            own.reads + first.reads + second.reads,
            "?",
            (own, first, second),
            max(first.width, second.width),
        )

    def any(self) -> Expression:
        """One bit: whether any bit is set."""
        return self._reduced("|")

    def none(self) -> Expression:
        """One bit: whether no bit is set."""
        return self._reduced("~|")

    def _reduced(self, operator: str) -> Expression:
        own = self.expression
        return Expression(operator + own.text, own.reads, operator, (own,), 1)

    def grouped(self) -> Expression:
        """The same expression in parentheses."""
        return replace(self.expression, text=f"({self.expression.text})")


@dataclass(frozen=True, slots=True)
class Expression(Value):
    """A Verilog expression; two expressions with the same text are equal."""

    text: str
    reads: tuple[str, ...] = field(default=(), compare=False)  # names of the nets read, in the order of the text
    kind: str = field(default="net", compare=False)  # net, part, literal, copies, join, or the operator as in Verilog
    operands: tuple[Expression, ...] = field(default=(), compare=False)
    width: int = field(default=0, compare=False)  # bits of the result, where its context needs no more
    number: int = field(default=0, compare=False)  # literal: its value; part: its lowest bit; copies: how many

    def __str__(self) -> str:
        return self.text

    @property
    def expression(self) -> Expression:
        return self


def constant(value: int, width: int) -> Expression:
    """`value` modulo 2**width as a literal."""
    number = value & ((1 << width) - 1)
    return Expression(f"{width}'h{number:x}", kind="literal", width=width, number=number)


def zeros(width: int) -> Expression:
    """The literal 0 of `width` bits."""
    return Expression(f"{width}'b0", kind="literal", width=width)


def part_of(name: str, high: int, low: int) -> Expression:
    """Part-select: bits high..low of the net called `name`."""
    width = high - low + 1
    return Expression(f"{name}[{high}:{low}]", (name,), kind="part", width=width, number=low)


def bit_of(name: str, index: int) -> Expression:
    """Bit-select: the bit at `index` of the net called `name`."""
    return Expression(f"{name}[{index}]", (name,), kind="part", width=1, number=index)


ZERO, ONE = zeros(1), Expression("1'b1", kind="literal", width=1, number=1)


def joined(*parts: Value) -> Expression:
    """Concatenation of `parts`, most significant first."""
    found = [part.expression for part in parts]
    return Expression(
        "{" + ", ".join([part.text for part in found]) + "}",
        tuple(dict.fromkeys([name for part in found for name in part.reads])),
        "join",
        tuple(found),
        sum([part.width for part in found]),
    )


def widened(number: Value, width: int, to: int) -> Value:
    """An unsigned number of `width` bits with leading zeros, `to` bits wide: operands of an operator have one width."""
    return number if width >= to else joined(zeros(to - width), number)


def concatenation(bits: Iterable[Value]) -> Expression:
    """Concatenation of `bits`, least significant first."""
    return joined(*reversed(list(bits)))


def replicated(copies: int, part: Value) -> Expression:
    """`copies` copies of `part`, concatenated."""
    own = part.expression
    text = f"{{{copies}{{{own.text}}}}}"
    return Expression(text, own.reads, "copies", (own,), copies * own.width, copies)


def any_of(bits: Iterable[Value]) -> Expression:
    """One bit: whether any of `bits` is set; not in parentheses."""
    first, *others = [bit.expression for bit in bits]
    for bit in others:
        first = first | bit
    return first


def _binary(left: Value, operator: str, right: Value) -> Expression:
    first, second = left.expression, right.expression
    return Expression(
        f"{first.text} {operator} {second.text}",
        first.reads + second.reads,
        operator,
        (first, second),
        1 if operator in _COMPARISONS else first.width if operator == ">>" else max(first.width, second.width),
    )
