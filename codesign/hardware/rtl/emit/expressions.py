"""Verilog expressions that know what they are made of: beside the text, the nets that they read and their operations.

Nothing is put in parentheses or cut to a width by itself: `grouped` and `Module.wire` do.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple


class Operation(NamedTuple):
    """One operator of an expression.

    kind: as Verilog writes it (+ - ^ & | ? == >>), or ``compare``, ``reduce`` (to one bit) and ``replicate``.
    size: bits of the nets compared or reduced, copies of what is replicated; 0 of the others.
    """

    kind: str
    size: int = 0


class Operand(abc.ABC):
    """What operators apply to: a net or an expression."""

    @property
    @abc.abstractmethod
    def expression(self) -> Expression:
        """What it reads as on the right of an assignment."""

    def __add__(self, other: Operand) -> Expression:
        return _binary(self, "+", other)

    def __sub__(self, other: Operand) -> Expression:
        return _binary(self, "-", other)

    def __xor__(self, other: Operand) -> Expression:
        return _binary(self, "^", other)

    def __and__(self, other: Operand) -> Expression:
        return _binary(self, "&", other)

    def __or__(self, other: Operand) -> Expression:
        return _binary(self, "|", other)

    def __invert__(self) -> Expression:
        own = self.expression
        return Expression(f"~{own.text}", own.reads, own.bits, own.operations)

    def shifted_right(self, distance: Operand) -> Expression:
        """By a distance that is not constant."""
        return _binary(self, ">>", distance)

    def equals(self, other: Operand) -> Expression:
        """One bit; not to be taken for ``==``, which compares descriptions."""
        return _binary(self, "==", other)

    def exceeds(self, other: Operand) -> Expression:
        """Whether this unsigned number is the larger one."""
        return _binary(self, ">", other, Operation("compare", self.expression.bits + other.expression.bits))

    def reaches(self, other: Operand) -> Expression:
        """Whether this unsigned number is at least as large."""
        return _binary(self, ">=", other, Operation("compare", self.expression.bits + other.expression.bits))

    def choose(self, yes: Operand, no: Operand) -> Expression:
        """One of two, by this bit."""
        own, first, second = self.expression, yes.expression, no.expression
        return Expression(
            f"{own.text} ? {first.text} : {second.text}",
            own.reads + first.reads + second.reads,
            own.bits + first.bits + second.bits,
            (*own.operations, *first.operations, *second.operations, Operation("?")),
        )

    def any(self) -> Expression:
        """Whether one of the bits is set."""
        return self._reduced("|")

    def none(self) -> Expression:
        """Whether no bit is set."""
        return self._reduced("~|")

    def _reduced(self, operator: str) -> Expression:
        own = self.expression
        operations = (*own.operations, Operation("reduce", own.bits)) if own.bits else own.operations
        return Expression(operator + own.text, own.reads, own.bits, operations)

    def grouped(self) -> Expression:
        """In parentheses."""
        own = self.expression
        return Expression(f"({own.text})", own.reads, own.bits, own.operations)


@dataclass(frozen=True, slots=True)
class Expression(Operand):
    """A piece of Verilog; two of the same text are equal.

    reads: names of the nets in it, in the order of the text; bits: of all these nets together, as far as they are read.
    """

    text: str
    reads: tuple[str, ...] = field(default=(), compare=False)
    bits: int = field(default=0, compare=False)
    operations: tuple[Operation, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        return self.text

    @property
    def expression(self) -> Expression:
        return self


def constant(value: int, width: int) -> Expression:
    """`value` modulo 2**width as a literal."""
    return Expression(f"{width}'h{value & ((1 << width) - 1):x}")


def zeros(width: int) -> Expression:
    """A literal of as many zeros."""
    return Expression(f"{width}'b0")


ZERO, ONE = zeros(1), Expression("1'b1")


def joined(*parts: Operand) -> Expression:
    """Parts given highest first as one vector."""
    found = [part.expression for part in parts]
    return Expression(
        "{" + ", ".join([part.text for part in found]) + "}",
        tuple(dict.fromkeys([name for part in found for name in part.reads])),
        sum([part.bits for part in found]),
        tuple([operation for part in found for operation in part.operations]),
    )


def concatenation(bits: Iterable[Operand]) -> Expression:
    """Bits given lowest first as one vector."""
    return joined(*reversed(list(bits)))


def replicated(copies: int, part: Operand) -> Expression:
    """`part` so many times side by side."""
    own = part.expression
    return Expression(
        f"{{{copies}{{{own.text}}}}}", own.reads, own.bits, (*own.operations, Operation("replicate", copies))
    )


def any_of(bits: Iterable[Operand]) -> Expression:
    """Whether one of several bits is set, ungrouped."""
    first, *others = [bit.expression for bit in bits]
    for bit in others:
        first = first | bit
    return first


def _binary(left: Operand, operator: str, right: Operand, operation: Operation | None = None) -> Expression:
    first, second = left.expression, right.expression
    return Expression(
        f"{first.text} {operator} {second.text}",
        first.reads + second.reads,
        first.bits + second.bits,
        (*first.operations, *second.operations, operation or Operation(operator)),
    )
