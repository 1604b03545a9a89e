"""Carry-save addition of many bits by Dadda's scheme (1965), on columns of equal weight.

No sign is extended: a bit of negative weight is inverted and its weight subtracted in one constant per tree (Baugh and
Wooley, 1973), so that ``Rows`` holds unsigned bits and that constant.
"""

from __future__ import annotations

from codesign.hardware.rtl.emit.expressions import ONE, ZERO, Expression, Value, bit_of, concatenation, replicated
from codesign.hardware.rtl.emit.verilog import Module, Net


class Rows:
    """Bits to be added modulo 2**width, by column, and the sum of all constants."""

    def __init__(self, module: Module, width: int) -> None:
        self.module = module
        self.width = width
        self.columns: list[list[Expression]] = [[] for _ in range(width)]
        self.constant = 0

    def bit(self, bit: Value, weight: int, negative: bool = False) -> None:
        """Add ``bit * 2**weight``, or subtract it if `negative`; bits beyond the width are dropped."""
        if weight >= self.width:
            return
        self.columns[weight].append(~bit.expression.grouped() if negative else bit.expression)
        if negative:
            self.constant -= 1 << weight

    def unsigned(self, net: Net, shift: int = 0) -> None:
        for i, bit in enumerate(net.bits()):
            self.bit(bit, i + shift)

    def signed(self, net: Net, shift: int = 0) -> None:
        """Add a two's complement number, whose top bit has negative weight."""
        for i, bit in enumerate(net.bits()):
            self.bit(bit, i + shift, negative=i == net.width - 1)

    def product(self, a: Net, b: Net, a_signed: bool, b_signed: bool, shift: int = 0) -> None:
        """Add the partial products of a * b: one row of AND gates per bit of b."""
        for j in range(b.width):
            row = self.module.wire(a.width, a & replicated(a.width, b.bit(j)), "pp")
            for i, bit in enumerate(row.bits()):
                self.bit(bit, i + j + shift, (a_signed and i == a.width - 1) != (b_signed and j == b.width - 1))

    def sign_magnitude(self, sign: Net, magnitude: Net, shift: int = 0) -> None:
        """Add (-1)**sign * magnitude: conditionally inverted bits, the sign as negative top bit and as carry-in."""
        row = self.module.wire(magnitude.width, magnitude ^ replicated(magnitude.width, sign), "term")
        self.unsigned(row, shift)
        self.bit(sign, magnitude.width + shift, negative=True)
        self.bit(sign, shift)


def compress(module: Module, rows: Rows) -> tuple[Net, Net]:
    """Reduce to two rows with the same sum modulo 2**width, by full and half adders."""
    columns = [list(column) for column in rows.columns]
    for i in range(rows.width):
        if rows.constant >> i & 1:
            columns[i].append(ONE)
    height = max(2, *(len(column) for column in columns))
    for target in reversed(_heights(height)):
        columns = _reduce(module, columns, target)
    return _row(module, columns, 0), _row(module, columns, 1)


def add(module: Module, rows: Rows, hint: str = "sum") -> Net:
    """The sum of all bits, modulo 2**width."""
    first, second = compress(module, rows)
    return module.wire(rows.width, first + second, hint)


def _heights(height: int) -> list[int]:
    """Dadda's heights 2, 3, 4, 6, 9, 13, ... below `height`."""
    found = [2]
    while found[-1] * 3 // 2 < height:
        found.append(found[-1] * 3 // 2)
    return found if height > 2 else []


def _reduce(module: Module, columns: list[list[Expression]], target: int) -> list[list[Expression]]:
    """One reduction level, to at most `target` bits per column; its adders are emitted as vectors, one bit each."""
    full: list[list[Expression]] = []
    half: list[list[Expression]] = []
    carrying = [0, 0]  # half and full adders below the top column
    names = [module.name_of(hint) for hint in ("fs", "fc", "hs", "hc")]
    reduced: list[list[Expression]] = []
    carries: list[Expression] = []
    for weight, column in enumerate(columns):
        bits, done = list(column), list(carries)
        following: list[Expression] = []
        while len(bits) + len(done) > target:
            size = 3 if len(bits) + len(done) > target + 1 else 2
            taken = (bits + done)[:size]
            bits, done = bits[size:], done[max(0, size - len(bits)) :]
            cells, total, carry = (full, names[0], names[1]) if size == 3 else (half, names[2], names[3])
            done.append(bit_of(total, len(cells)))
            if weight < len(columns) - 1:  # a carry out of the top column is dropped
                following.append(bit_of(carry, len(cells)))
                carrying[size - 2] += 1
            cells.append(taken)
        reduced.append(bits + done)
        carries = following
    for cells, total, carry, below in (
        (full, names[0], names[1], carrying[1]),
        (half, names[2], names[3], carrying[0]),
    ):
        if cells:
            _adders(module, cells, total, carry, below)
    return reduced


def _adders(module: Module, cells: list[list[Expression]], total: str, carry: str, carrying: int) -> None:
    """Emit full adders (three inputs each) or half adders (two) as vectors; the first `carrying` have carries."""
    n = len(cells)
    inputs = [module.wire(n, concatenation(cell[i] for cell in cells), "xyz"[i]) for i in range(len(cells[0]))]
    sums = inputs[0] ^ inputs[1]
    module.define(total, n, sums ^ inputs[2] if len(inputs) == 3 else sums)
    if carrying:
        x, y, *z = [net if carrying == n else net.part(carrying - 1, 0) for net in inputs]
        carries = x & y
        if z:
            carries = carries.grouped() | (z[0] & (x | y).grouped()).grouped()
        module.define(carry, carrying, carries)


def _row(module: Module, columns: list[list[Expression]], index: int) -> Net:
    bits = [column[index] if len(column) > index else ZERO for column in columns]
    return module.wire(len(columns), concatenation(bits), "row")
