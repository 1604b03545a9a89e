"""Interprets a two-operand einsum as a batched matrix product."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Contraction:
    """An einsum as a batched matrix product: labels of both operands, divided by role."""

    a: str  # labels of the first operand, one per dimension
    b: str  # labels of the second operand
    batch: str
    m: str  # rows
    n: str  # columns
    k: str  # contracted
    out: str  # labels of the result

    def axes(self) -> tuple[int, int]:
        """The innermost contracted axis of `a`, and the axis of `b` with the same label."""
        label = max(self.k, key=self.a.index)
        return self.a.index(label), self.b.index(label)

    def swapped(self) -> Contraction:
        """The same product with the operands exchanged."""
        return Contraction(self.b, self.a, self.batch, self.n, self.m, self.k, self.out)


@lru_cache(maxsize=1024)
def contraction(equation: str, a_ndim: int, b_ndim: int) -> Contraction | None:
    """``"bhid,bhjd->bhij"`` -> batch "bh", m "i", n "j", k "d"; None if it is not a matrix product.

    An ellipsis is aligned from the right, as in torch. Einsums with a label that occurs twice in one operand (a
    diagonal), or that is summed within one operand, are not matrix products.
    """
    inputs, arrow, out = equation.replace(" ", "").partition("->")
    a, b = inputs.split(",")
    rank = max(_ellipsis_rank(a, a_ndim), _ellipsis_rank(b, b_ndim))
    if not arrow:  # implicit output: the ellipsis, then all labels that occur once, sorted
        letters = (a + b).replace(".", "")
        out = "..." + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    a, b = _expanded(a, _ellipsis_rank(a, a_ndim)), _expanded(b, _ellipsis_rank(b, b_ndim))
    out = _expanded(out, rank)
    if len(set(a)) < len(a) or len(set(b)) < len(b):
        return None
    if any(c not in out for c in set(a) ^ set(b)):
        return None
    return Contraction(
        a,
        b,
        batch="".join(c for c in a if c in b and c in out),
        m="".join(c for c in a if c not in b),
        n="".join(c for c in b if c not in a),
        k="".join(c for c in a if c in b and c not in out),
        out=out,
    )


def _ellipsis_rank(labels: str, ndim: int) -> int:
    return ndim - len(labels.replace(".", "")) if "..." in labels else 0


def _expanded(labels: str, rank: int) -> str:
    """`labels` with the ellipsis replaced by digits, numbered from the right so that both operands align."""
    return labels.replace("...", "".join(str(i) for i in reversed(range(rank))))
