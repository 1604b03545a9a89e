"""Boolean functions of cells: parsed from Liberty's notation, evaluated on integers or arrays, written as Verilog."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_TOKEN = re.compile(r"\s*([A-Za-z_][\w\[\].]*|[01]|[!'^*&+|()])")
_INFIX = {"or": "|", "and": "&", "xor": "^"}


@dataclass(frozen=True)
class BooleanExpression:
    """A node of an expression tree."""

    kind: str  # var, const, not, and, or, xor
    name: str = ""
    value: int = 0
    operands: tuple[BooleanExpression, ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """The distinct pins that occur, in order of appearance."""
        if self.kind == "var":
            return (self.name,)
        return tuple(dict.fromkeys(pin for operand in self.operands for pin in operand.inputs))

    def compiled(self, ones: Any = -1) -> Callable[[Mapping[str, Any]], Any]:
        """A bitwise function of {pin: integer or integer array}, so that one word holds many streams.

        ones: the constant 1 in the type of the pins, for uint64 arrays ``np.uint64(2**64 - 1)``.
        """
        if self.kind == "const":
            constant = ones if self.value else ones & 0
            return lambda pins: constant
        if self.kind == "var":
            name = self.name
            return lambda pins: pins[name]
        parts = [operand.compiled(ones) for operand in self.operands]
        if self.kind == "not":
            (inner,) = parts
            return lambda pins: ~inner(pins)
        left, right = parts
        if self.kind == "and":
            return lambda pins: left(pins) & right(pins)
        if self.kind == "or":
            return lambda pins: left(pins) | right(pins)
        return lambda pins: left(pins) ^ right(pins)

    def truth_table(self, inputs: tuple[str, ...]) -> tuple[int, ...]:
        """The values for all combinations of ``inputs``, the first pin changing slowest."""
        function = self.compiled()
        rows = itertools.product((0, 1), repeat=len(inputs))
        return tuple(function(dict(zip(inputs, row, strict=True))) & 1 for row in rows)

    def verilog(self) -> str:
        """The function as a Verilog expression of the pin names."""
        if self.kind == "const":
            return f"1'b{self.value}"
        if self.kind == "var":
            return self.name
        if self.kind == "not":
            return f"~{self.operands[0].verilog()}"
        return "(" + f" {_INFIX[self.kind]} ".join(operand.verilog() for operand in self.operands) + ")"


def negate(expression: BooleanExpression) -> BooleanExpression:
    return expression.operands[0] if expression.kind == "not" else BooleanExpression("not", operands=(expression,))


def parse_expression(text: str) -> BooleanExpression:
    """Read Liberty's boolean notation: ``!a``, ``a'``, ``a * b``, ``a & b``, ``a b``, ``a + b``, ``a | b``, ``a ^ b``.

    Negation binds tightest, then XOR, then AND, then OR, as Liberty has it. Raises ValueError on anything else.
    """
    tokens: list[str] = []
    position = 0
    stripped = text.rstrip()
    while position < len(stripped):
        match = _TOKEN.match(stripped, position)
        if match is None:
            raise ValueError(f"not a boolean function: {text!r}")
        tokens.append(match[1])
        position = match.end()
    reader = _Reader(tokens, text)
    expression = reader.alternatives()
    if reader.at < len(tokens):
        raise ValueError(f"not a boolean function: {text!r}")
    return expression


class _Reader:
    """Recursive-descent parser, one method per precedence level."""

    def __init__(self, tokens: list[str], text: str) -> None:
        self.tokens, self.text, self.at = tokens, text, 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def alternatives(self) -> BooleanExpression:
        left = self.product()
        while self.peek() in ("+", "|"):
            self.at += 1
            left = BooleanExpression("or", operands=(left, self.product()))
        return left

    def product(self) -> BooleanExpression:
        left = self.exclusive()
        while True:
            token = self.peek()
            if token in ("*", "&"):
                self.at += 1
            elif not (token and (token in "!(01" or token[0].isalpha() or token[0] == "_")):
                return left
            left = BooleanExpression("and", operands=(left, self.exclusive()))

    def exclusive(self) -> BooleanExpression:
        left = self.atom()
        while self.peek() == "^":
            self.at += 1
            left = BooleanExpression("xor", operands=(left, self.atom()))
        return left

    def atom(self) -> BooleanExpression:
        token = self.peek()
        self.at += 1
        if token == "!":
            return negate(self.atom())
        if token == "(":
            inner = self.alternatives()
            if self.peek() != ")":
                raise ValueError(f"parenthesis not closed: {self.text!r}")
            self.at += 1
        elif token in ("0", "1"):
            inner = BooleanExpression("const", value=int(token))
        elif token and (token[0].isalpha() or token[0] == "_"):
            inner = BooleanExpression("var", name=token)
        else:
            raise ValueError(f"not a boolean function: {self.text!r}")
        while self.peek() == "'":
            self.at += 1
            inner = negate(inner)
        return inner
