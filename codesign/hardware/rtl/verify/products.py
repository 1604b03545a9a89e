"""Whole matrix products as a dot-product unit computes them: what `Twin` computes, fast enough for a network.

- A fixed-point accumulator adds exact products modulo a power of two, so that the order of its sums does not matter:
  the product is a matrix product of integers, which float64 (or float32, in parts) computes exactly while no sum can
  leave its 53 (24) bits. Bounds are taken from the operands themselves. One that saturates is such a product, too,
  while no sum can leave its width.
- A floating-point accumulator rounds after every step: `sums` goes through the steps in the unit's order.
- What neither can hold (fixed-point sums beyond 53 bits, or that may saturate, products that are sums of logarithms),
  and everything where numba is not installed, is left to the twin itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import ModuleType

import numpy as np

from codesign.formats import IntElement
from codesign.hardware.arithmetic.modes import GROUP_WINDOW, Side
from codesign.hardware.rtl.verify.twin import Array, Floats, Twin, decode_scale, decoded

_COLUMNS = 128  # of a block, whose temporaries stay in the first cache
_EXACT_DOUBLE, _EXACT_SINGLE = 1 << 53, 1 << 24
_LEAST_SINGLE = 64  # products of a part below which float32 is not worth its parts
_TABLED_BITS = 16  # of an element, up to which all its numbers are listed
_TWIN_ROWS = 1 << 18  # products of a step that the twin computes at a time


@dataclass(frozen=True)
class Codes:
    """One operand of a batch of matrix products, as a unit reads it: see `Twin.run`.

    K is the same for both operands; where one has blocks, it is a multiple of the larger one's.
    """

    codes: Array  # [B, rows, K]: integers minus their zero points, or bit patterns
    scale_codes: Array | None = None  # [B, rows, K / block]; None without block scales

    def rows(self, batch: int, chosen: Array) -> Codes:
        """Some rows of one matrix, as a batch of one."""
        at = batch if len(self.codes) > 1 else 0
        scales = None if self.scale_codes is None else self.scale_codes[at, chosen][None]
        return Codes(self.codes[at, chosen][None], scales)


class Products:
    """Matrix products in the arithmetic of a `Twin`."""

    def __init__(self, twin: Twin) -> None:
        self.twin, self.mode = twin, twin.mode

    def __call__(self, weight: Codes, activation: Codes) -> Floats:
        """Values of the final accumulators [B, M, N] of activation [B, M, K] and weight [B or 1, N, K].

        float64, which holds every accumulator exactly, a negative zero included; only of a fixed-point one beyond 53
        bits it is the nearest.
        """
        if self.mode.fixed_accumulator:
            found = None if self.mode.is_logarithmic else self._fixed(weight, activation)
        else:
            left = self.twin.wide or self.mode.is_logarithmic or _compiled() is None
            found = None if left else self._floating(weight, activation)
        return self.by_twin(weight, activation) if found is None else found

    def by_twin(self, weight: Codes, activation: Codes) -> Floats:
        """The same, all of it by the twin."""
        w, w_scale = self.steps(weight, self.mode.weight)
        a, a_scale = self.steps(activation, self.mode.activation)
        batch, _, _, rows = a.shape
        out = np.empty((batch, rows, w.shape[-1]))
        some = max(1, _TWIN_ROWS // max(1, w.shape[-1]))
        for b in range(batch):
            bw = b if len(w) > 1 else 0
            for begin in range(0, rows, some):
                at = slice(begin, begin + some)
                found = self.twin.run(
                    w[bw][..., None],
                    a[b][:, :, None, at],
                    np.arange(a.shape[1]) == 0,
                    None if w_scale is None else w_scale[bw][..., None],
                    None if a_scale is None else a_scale[b][:, :, None, at],
                )
                out[b, at] = self.twin.value(found[-1]).T
        return out

    def steps(self, operand: Codes, side: Side) -> tuple[Array, Array | None]:
        """Codes [B, steps, products, rows] and scale codes [B, steps, scales of a step, rows], padded with zeros.

        A padded block has scale code 0, the smallest, so that it never determines an alignment.
        """
        codes = _padded(operand.codes, self.mode.products)
        stepped = codes.reshape(*codes.shape[:2], -1, self.mode.products).transpose(0, 2, 3, 1)
        if operand.scale_codes is None:
            return stepped, None
        each = max(1, self.mode.products // side.block)
        scales = np.repeat(operand.scale_codes, max(1, side.block // self.mode.products), axis=2)
        scales = _padded(scales, each)
        return stepped, scales.reshape(*scales.shape[:2], -1, each).transpose(0, 2, 3, 1)

    # -- fixed point --------------------------------------------------------------------------------

    def _fixed(self, weight: Codes, activation: Codes) -> Floats | None:
        """By a product of integers; None if its sums may leave float64's 53 bits, or saturate."""
        w, a = _scaled(weight, self.mode.weight), _scaled(activation, self.mode.activation)
        k = w.shape[2]
        each = max(1, int(np.abs(w).max(initial=0)) * int(np.abs(a).max(initial=0)))
        bits = self.mode.fixed_accumulator
        overflows = k * each >= 1 << (bits - 1)
        if k * each > _EXACT_DOUBLE or (overflows and self.mode.accumulator.saturates):
            return None
        part = _EXACT_SINGLE // each  # products whose sums, in any order, are exact in float32
        if part >= min(k, _LEAST_SINGLE):
            w32, a32 = w.astype(np.float32), a.astype(np.float32)
            found = np.zeros((len(a), a.shape[1], w.shape[1]))
            for begin in range(0, k, part):
                at = slice(begin, begin + part)
                found += a32[:, :, at] @ w32[:, :, at].transpose(0, 2, 1)
        else:
            found = a.astype(np.float64) @ w.astype(np.float64).transpose(0, 2, 1) + 0.0
        if overflows:
            half = 2.0 ** (bits - 1)
            found = np.mod(found + half, 2 * half) - half
        return found * 2.0**self.twin.lowest_weight

    # -- floating point -----------------------------------------------------------------------------

    def _floating(self, weight: Codes, activation: Codes) -> Floats:
        mode, twin = self.mode, self.twin
        lanes = mode.products // mode.groups
        inside = lanes.bit_length()  # bits by which a sum within a group is wider than a product
        kind = np.int32 if mode.field + inside <= 30 and mode.product_bits <= 30 else np.int64
        w, w_exp = self._numbers(weight, mode.weight, kind)
        a, a_exp = self._numbers(activation, mode.activation, kind)
        w_scale, w_scale_exp = self._scales(weight, mode.weight, w.shape[2])
        a_scale, a_scale_exp = self._scales(activation, mode.activation, a.shape[2])
        base, place, drop = twin.lowest_weight, 0, 0
        if mode.is_aligned:
            place, drop = _shifts(mode.accumulator.window, mode.product_bits)
            base = mode.exponent_offset - place + drop
        elif mode.is_direct:
            base = mode.exponent_offset
        for side in (mode.weight, mode.activation):
            base += side.scale_offset
        group_place, group_drop = _shifts(GROUP_WINDOW, twin.group_bits)
        element = mode.float_element
        assert element is not None
        out = np.empty((len(a), a.shape[1], w.shape[1]))
        loops = _compiled()
        assert loops is not None
        loops.float_sums(
            a, a_exp, _columns(w), _columns(w_exp), a_scale, a_scale_exp, _columns(w_scale), _columns(w_scale_exp),
            out, np.zeros((4, min(_COLUMNS, w.shape[1])), kind), kind, lanes, mode.groups,
            mode.is_aligned or mode.is_direct, kind(place), kind(drop), kind(31 if kind is np.int32 else 62), base,
            group_place, group_drop, element.bits == 32,
        )  # fmt: skip
        return out

    def _numbers(self, operand: Codes, side: Side, kind: type) -> tuple[Array, Array]:
        """(significands, exponents) of an operand, padded to whole steps.

        Where sums are exact, significands are whole numbers, and the exponents, which nobody reads, a single zero.
        """
        codes = _padded(operand.codes, self.mode.products)
        if self.mode.is_aligned or self.mode.is_direct:
            if isinstance(side.element, IntElement):
                return np.ascontiguousarray(codes, kind), np.zeros(codes.shape, kind)
            if side.element.bits > _TABLED_BITS:
                found = decoded(codes, side)
                return np.ascontiguousarray(found[0], kind), np.ascontiguousarray(found[1], kind)
            significands, exponents = _table(side)
            at = codes.astype(np.intp)
            return significands.astype(kind)[at], exponents.astype(kind)[at]
        return np.ascontiguousarray(_whole(codes, side), kind), np.zeros((1, 1, 1), kind)

    def _scales(self, operand: Codes, side: Side, k: int) -> tuple[Array, Array]:
        """(significands, exponents) of the scale of each group of products, int64 [B, rows, groups]."""
        lanes = self.mode.products // self.mode.groups
        shape = (*operand.codes.shape[:2], k // lanes)
        if side.scale is None:
            return np.ones(shape, np.int64), np.zeros(shape, np.int64)
        assert operand.scale_codes is not None, "a block format needs its scales"
        place = np.arange(k // lanes) * lanes // side.block
        missing = int(place[-1]) + 1 - operand.scale_codes.shape[2]
        codes = np.pad(operand.scale_codes, [(0, 0), (0, 0), (0, max(0, missing))])[:, :, place]
        significands, exponents = decode_scale(codes, side.scale)
        return np.ascontiguousarray(significands), np.ascontiguousarray(exponents)


def _shifts(window: int, bits: int) -> tuple[int, int]:
    """By how much a magnitude of `bits` bits is shifted to the left, and to the right, to the top of a window."""
    return max(0, window - bits), max(0, bits - window)


def _columns(x: Array) -> Array:
    """[B, rows, K] as [B, K, rows]."""
    return np.ascontiguousarray(x.transpose(0, 2, 1))


def _padded(x: Array, multiple: int) -> Array:
    """`x` with zeros behind its last axis."""
    pad = -x.shape[-1] % multiple
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, pad)]) if pad else x


def _whole(codes: Array, side: Side) -> Array:
    """Codes as whole numbers, in units of the smallest step of the element."""
    if isinstance(side.element, IntElement):
        return codes
    significands, exponents = _table(side)
    values: Array = significands << (exponents - side.lowest)
    return np.asarray(values[codes.astype(np.intp)])


def _scaled(operand: Codes, side: Side) -> Array:
    """Codes as whole numbers, times their block scales, which are integers."""
    codes = _whole(operand.codes, side)
    if operand.scale_codes is None:
        return codes
    return codes * np.repeat(operand.scale_codes.astype(np.int64), side.block, axis=2)[:, :, : codes.shape[2]]


@cache
def _table(side: Side) -> tuple[Array, Array]:
    """(significand, exponent) of every bit pattern of an element other than integers."""
    significands, exponents = decoded(np.arange(1 << side.element.bits), side)
    return significands, np.broadcast_to(exponents, significands.shape)


@cache
def _compiled() -> ModuleType | None:
    try:
        from codesign.hardware.rtl.verify import sums
    except ImportError:  # numba is not installed
        return None
    return sums
