"""Read a two-operand einsum as a batched matrix product."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Contraction:
    """Labels of operands `a` and `b`, and which of them are batch, rows m, columns n, contracted k."""

    a: str
    b: str
    batch: str
    m: str
    n: str
    k: str

    def axes(self) -> tuple[int, int]:
        """The innermost contracted axis of `a`, and the same one of `b`."""
        label = max(self.k, key=self.a.index)
        return self.a.index(label), self.b.index(label)

    def swapped(self) -> Contraction:
        """The same product with the operands' roles exchanged."""
        return Contraction(self.b, self.a, self.batch, self.n, self.m, self.k)


@lru_cache(maxsize=1024)
def contraction(equation: str, a_ndim: int, b_ndim: int) -> Contraction | None:
    """``"bhid,bhjd->bhij"`` -> batch bh, m i, n j, k d; None if it is not a plain matrix product.

    An ellipsis is aligned from the right, as in torch. A label twice in one operand (a diagonal) or
    summed within one operand is no matrix product.
    """
    inputs, arrow, out = equation.replace(" ", "").partition("->")
    a, b = inputs.split(",")
    rank = max(_ellipsis_rank(a, a_ndim), _ellipsis_rank(b, b_ndim))
    if not arrow:  # implicit output: the ellipsis, then every label that stands once, sorted
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
    )


def _ellipsis_rank(labels: str, ndim: int) -> int:
    return ndim - len(labels.replace(".", "")) if "..." in labels else 0


def _expanded(labels: str, rank: int) -> str:
    """The ellipsis spelled as digits, counted from the right so that they align."""
    return labels.replace("...", "".join(str(i) for i in reversed(range(rank))))
