"""The arithmetic of a dot-product unit in NumPy, bit for bit what its Verilog computes.

Products are exact. Fixed-point and integer sums wrap modulo 2**width, or saturate after every step. An aligned sum
places every product's magnitude at the top of a window, shifts it right to the largest exponent of the step and
truncates. A floating-point accumulator adds the (scaled) sum exactly and rounds once, to nearest even, keeping
subnormals and saturating at the largest finite number. NaN and infinity codes are treated as ordinary numbers, as in
the hardware: quantizers never produce them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from codesign.formats import FloatElement, FormatPair, IntElement
from codesign.formats.scaling import ScaleElement
from codesign.formats.tabulated import CodebookElement, LogElement
from codesign.hardware.arithmetic.modes import GROUP_WINDOW, Side, resolve_modes

Array = npt.NDArray[Any]  # int64, or Python integers (dtype object) if wider
Floats = npt.NDArray[np.float64]
_SMALL = 62  # widths up to this fit int64, including a sign
_CHUNK = 1 << 15  # products computed at a time
_DOUBLE = 53  # widths up to this are exact in float64


@dataclass(frozen=True)
class Terms:
    """Sums of a step before the accumulator: significand * 2**exponent, [..., groups, *batch]."""

    significand: Array
    exponent: Array


class Twin:
    """Model of a unit with one mode: `lanes` products of a format pair per step, summed in `accumulator`.

    interleave: number of independent sums that are interleaved. bits: width of a fixed-point or integer accumulator, if
    a unit of several formats has a wider one. Raises InputError as `Unit` does.
    """

    def __init__(
        self, pair: FormatPair, accumulator: str, lanes: int, interleave: int = 1, bits: int | None = None
    ) -> None:
        mode = resolve_modes([pair], accumulator, lanes, [1])[0]
        if bits is not None and mode.fixed_accumulator:
            mode = replace(mode, accumulator=replace(mode.accumulator, bits=bits))
        self.mode = mode
        self.interleave = interleave if mode.float_element else 1

    def run(
        self,
        weight: Array,
        activation: Array,
        first: npt.NDArray[np.bool_],
        weight_scale: Array | None = None,
        activation_scale: Array | None = None,
        start: Array | None = None,
    ) -> Array:
        """The accumulator after every step, [steps, *batch].

        weight, activation: codes [steps, lanes, *batch] (batches broadcast): two's complement integers (zero point
        subtracted), or bit patterns of minifloats; first: bool [steps], whether a sum begins; *_scale: codes of block
        scales [steps, groups of that operand, *batch]; start: initial accumulators [interleave, *batch], 0 by default.
        Floating-point accumulators are returned as IEEE bit patterns (int64), others as signed integers (int64, or
        Python integers in an object array above 62 bits).
        """
        sums = self.sums(weight, activation, weight_scale, activation_scale)
        first = np.asarray(first, bool)
        batch = sums.significand.shape[1:]
        held = np.zeros(sums.significand.shape, np.float64 if self.mode.float_element else sums.significand.dtype)
        alone = np.flatnonzero(first)  # a step that begins a sum does not depend on others
        held[alone] = self._added(held[alone], sums.significand[alone], sums.exponent[alone])
        begun = np.zeros((self.interleave, *batch), held.dtype)
        if start is not None:
            begun[:] = self._decoded(np.asarray(start))
        for step in np.flatnonzero(~first):
            kept = held[step - self.interleave] if step >= self.interleave else begun[step]
            one = slice(step, step + 1)
            held[one] = self._added(np.asarray(kept)[None], sums.significand[one], sums.exponent[one])
        return self._encoded(held)

    def _added(self, kept: Array, significand: Array, exponent: Array) -> Array:
        element = self.mode.float_element
        if element is not None:
            return _rounded_sum(kept, significand, exponent, element)
        if self.mode.accumulator.saturates:
            half = 1 << (self.mode.fixed_accumulator - 1)
            return np.asarray(np.clip(kept + significand, -half, half - 1))
        return _wrapped(kept + significand, self.mode.fixed_accumulator)

    def value(self, accumulator: Array) -> Floats:
        """Values of accumulators: dot products of element values, with block scales applied."""
        if self.mode.float_element:
            return np.asarray(self._decoded(accumulator), np.float64)
        return np.asarray(accumulator, np.float64) * 2.0**self.lowest_weight

    @property
    def lowest_weight(self) -> int:
        """Exponent of the lowest bit of a fixed-point or integer accumulator."""
        mode = self.mode
        return mode.exponent_offset + mode.lowest

    def sums(
        self, weight: Array, activation: Array, weight_scale: Array | None = None, activation_scale: Array | None = None
    ) -> Terms:
        """The sum of the adder tree per step, [steps, *batch], with block scales applied."""
        size = prod(np.broadcast_shapes(np.shape(weight)[1:], np.shape(activation)[1:]))
        count = max(1, _CHUNK // max(1, size))  # steps at a time, so that they stay in cache
        chunks = [
            self._sums(
                weight[at],
                activation[at],
                None if weight_scale is None else weight_scale[at],
                None if activation_scale is None else activation_scale[at],
            )
            for at in (slice(begin, begin + count) for begin in range(0, len(weight), count))
        ]
        return Terms(np.concatenate([c.significand for c in chunks]), np.concatenate([c.exponent for c in chunks]))

    def _sums(
        self, weight: Array, activation: Array, weight_scale: Array | None, activation_scale: Array | None
    ) -> Terms:
        mode = self.mode
        first, second = mode.weight.element, mode.activation.element
        if isinstance(first, LogElement) and isinstance(second, LogElement):
            product, exponent = _products_of_logarithms(weight, activation, first, second, self.wide)
        else:
            w_sig, w_exp = decoded(weight, mode.weight, self.wide)
            a_sig, a_exp = decoded(activation, mode.activation, self.wide)
            product, exponent = w_sig * a_sig, w_exp + a_exp
        steps, batch = product.shape[0], product.shape[2:]
        shape = (steps, mode.groups, mode.products // mode.groups, *batch)
        product, exponent = product.reshape(shape), np.broadcast_to(exponent, product.shape).reshape(shape)
        terms = self._summed(product, exponent)
        if mode.block:
            terms = self._scaled(terms, weight_scale, activation_scale)
        if mode.groups == 1 or mode.fixed_accumulator:
            return Terms(terms.significand.sum(axis=1), terms.exponent[:, 0])
        return self._aligned(terms.significand, terms.exponent, self.group_bits, GROUP_WINDOW, axis=1)

    @property
    def group_bits(self) -> int:
        """Bits of the magnitude of a group's sum, with its scales."""
        mode = self.mode
        # a two's complement integer sum has its sign within the product's bits
        spare = 1 if mode.is_integer else 0
        return mode.field + (mode.products // mode.groups - 1).bit_length() + mode.scale_bits - spare

    @property
    def wide(self) -> bool:
        """Whether sums need Python integers: they exceed int64, or the float64 from which a result is rounded."""
        mode = self.mode
        width = mode.field + (mode.products // mode.groups - 1).bit_length() + mode.scale_bits
        return width > _DOUBLE if mode.float_element else max(width, mode.fixed_accumulator) > _SMALL

    def _summed(self, product: Array, exponent: Array) -> Terms:
        mode = self.mode
        offset = mode.exponent_offset
        if mode.is_direct:
            return Terms(product[:, :, 0], exponent[:, :, 0] + offset)
        if mode.is_aligned:
            return self._aligned(product, exponent + offset, mode.product_bits, mode.accumulator.window, axis=2)
        lowest = mode.lowest
        total = (product << (exponent - lowest)).sum(axis=2)
        return Terms(total, np.full(total.shape, lowest + offset, np.int64))

    @staticmethod
    def _aligned(significand: Array, exponent: Array, width: int, window: int, axis: int) -> Terms:
        """Sum over `axis` of magnitudes of `width` bits aligned in `window` bits to the largest exponent."""
        largest = exponent.max(axis=axis, keepdims=True)
        magnitude = np.abs(significand)
        magnitude = magnitude << (window - width) if window >= width else magnitude >> (width - window)
        distance = largest - exponent
        kept = magnitude >> (distance if magnitude.dtype == object else np.minimum(distance, 62))
        total = np.where(significand < 0, -kept, kept).sum(axis=axis)
        return Terms(total, largest.squeeze(axis) - (window - width))

    def _scaled(self, terms: Terms, weight_scale: Array | None, activation_scale: Array | None) -> Terms:
        significand, exponent = terms.significand, terms.exponent
        for side, codes in ((self.mode.weight, weight_scale), (self.mode.activation, activation_scale)):
            if side.scale is None:
                continue
            assert codes is not None, "a block format needs its scales"
            codes = np.repeat(codes, self.mode.groups // codes.shape[1], axis=1)
            sig, exp = decode_scale(codes, side.scale, self.wide)
            significand = significand * sig
            exponent = exponent + exp + side.scale_offset
        return Terms(significand, np.broadcast_to(exponent, significand.shape))

    def _decoded(self, accumulator: Array) -> Array:
        element = self.mode.float_element
        if element is None:
            return accumulator
        unsigned, native = (np.uint32, np.float32) if element.bits == 32 else (np.uint16, np.float16)
        return np.asarray(accumulator).astype(unsigned).view(native).astype(np.float64)

    def _encoded(self, held: Array) -> Array:
        element = self.mode.float_element
        if element is None:
            return np.asarray(held, np.int64 if self.mode.fixed_accumulator <= _SMALL else object)
        unsigned, native = (np.uint32, np.float32) if element.bits == 32 else (np.uint16, np.float16)
        return np.asarray(held).astype(native).view(unsigned).astype(np.int64)


def decoded(codes: Array, side: Side, wide: bool = False) -> tuple[Array, Array]:
    """(signed significand, effective exponent) of codes."""
    match side.element:
        case FloatElement():
            return decode(codes, side.element, wide)
        case LogElement():
            low, count = side.element.fraction_bits, 1 << side.element.bits - 1
            codes = np.asarray(codes).astype(np.int64)
            table = np.tile(np.array(side.element.antilogs), count >> low)
            table[0] = 0
            significand = table[codes & count - 1]
            return _sized(np.where(codes & count, -significand, significand), wide), (codes & count - 1) >> low
        case CodebookElement():
            codes = np.array(side.element.by_code)[np.asarray(codes).astype(np.int64)]
    return _sized(codes, wide), np.zeros((1,) * codes.ndim, np.int64)


def _products_of_logarithms(
    weight: Array, activation: Array, first: LogElement, second: LogElement, wide: bool
) -> tuple[Array, Array]:
    """(signed antilogarithm of the sum, its integer part): the antilogarithm is that of the longer fraction."""
    wider = max(first, second, key=lambda element: element.fraction_bits)
    total: Array = np.zeros((), np.int64)
    sign: Array = np.ones((), np.int64)
    for codes, element in ((weight, first), (activation, second)):
        codes, half = np.asarray(codes).astype(np.int64), 1 << element.bits - 1
        total = total + ((codes & half - 1) << wider.fraction_bits - element.fraction_bits)
        sign = sign * np.where(codes & half - 1 == 0, 0, np.where(codes & half, -1, 1))
    significand = np.array(wider.antilogs)[total & len(wider.antilogs) - 1]
    return _sized(sign * significand, wide), total >> wider.fraction_bits


def decode_scale(codes: Array, scale: ScaleElement, wide: bool = False) -> tuple[Array, Array]:
    """(significand, effective exponent) of bit patterns of block scales."""
    if isinstance(scale, IntElement):
        return _sized(np.asarray(codes), wide), np.zeros_like(codes, dtype=np.int64)
    return decode(codes, scale, wide)


def decode(codes: Array, element: FloatElement, wide: bool = False) -> tuple[Array, Array]:
    """(signed significand, effective exponent) of bit patterns of a minifloat; wide: as Python integers."""
    mantissa = element.mantissa_bits
    codes = np.asarray(codes).astype(np.int64)
    field = codes >> mantissa & (1 << element.exponent_bits) - 1
    if not element.has_zero:
        return _sized(np.ones_like(codes), wide), field
    significand = (codes & (1 << mantissa) - 1) + ((field > 0).astype(np.int64) << mantissa)
    if not element.subnormals:
        significand = np.where(field > 0, significand, 0)
    if element.signed:
        significand = np.where(codes >> (element.bits - 1) & 1, -significand, significand)
    return _sized(significand, wide), np.maximum(field, 1)


def _sized(values: Array, wide: bool) -> Array:
    return values.astype(object) if wide else values.astype(np.int64)


def _wrapped(values: Array, bits: int) -> Array:
    half = 1 << (bits - 1)
    return (values + half) % (1 << bits) - half


def _rounded_sum(kept: Floats, significand: Array, exponent: Array, element: FloatElement) -> Floats:
    """RNE(kept + significand * 2**exponent) in the element, exact up to the one rounding.

    Significands of up to 53 bits are exact in float64, and so is the error of their float64 sum
    (Knuth's two-sum). Rounding an inexact sum to odd makes the second rounding, to at most 24 bits, correct (Boldo and
    Melquiond 2008). Exponents are clipped where this does not change the result: larger numbers saturate anyway, and
    numbers below 2**-400 can only break a tie, which they still do.
    """
    if significand.dtype == object:
        return _rounded_sum_exactly(kept, significand, exponent, element)
    term = np.ldexp(significand.astype(np.float64), np.clip(exponent, -500, 500).astype(np.int64))
    total = kept + term
    part = total - kept
    error = (kept - (total - part)) + (term - part)
    even = (total.view(np.int64) & 1) == 0
    with np.errstate(under="ignore"):
        neighbour = np.nextafter(total, np.where(error > 0, np.inf, -np.inf))
    odd = np.where((error != 0) & even, neighbour, total)
    return _narrowed(odd, element)


def _narrowed(values: Floats, element: FloatElement) -> Floats:
    """Values (rounded to odd) to nearest even in the element, saturating; an exact zero is +0."""
    native = np.float32 if element.bits == 32 else np.float16
    with np.errstate(over="ignore", under="ignore"):
        rounded = values.astype(native).astype(np.float64)
    rounded = np.clip(rounded, -element.max_value, element.max_value)
    return np.where(values == 0, 0.0, rounded)


def _rounded_sum_exactly(kept: Floats, significand: Array, exponent: Array, element: FloatElement) -> Floats:
    """`_rounded_sum` with Python integers, for sums wider than float64: rounds to odd at 53 bits first."""
    shape = significand.shape
    out = np.empty(significand.size, np.float64)
    kept, exponent = np.broadcast_to(kept, shape), np.broadcast_to(exponent, shape)
    for i, (a, s, e) in enumerate(zip(kept.flat, significand.flat, exponent.flat, strict=True)):
        numerator, denominator = float(a).as_integer_ratio()
        low = min(int(e), -(denominator.bit_length() - 1))
        total = (numerator << (-low - denominator.bit_length() + 1)) + (int(s) << (int(e) - low))
        out[i] = _odd(total, low)
    return _narrowed(out.reshape(shape), element)


def _odd(total: int, exponent: int) -> float:
    """total * 2**exponent as a float64, rounded to odd."""
    excess = max(abs(total).bit_length() - 53, 0)
    magnitude = abs(total) >> excess
    if magnitude << excess != abs(total):
        magnitude |= 1
    value = np.ldexp(float(magnitude), max(min(exponent + excess, 900), -1000))
    return -float(value) if total < 0 else float(value)
