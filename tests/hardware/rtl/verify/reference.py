"""The arithmetic of a dot-product unit once more, in exact fractions and one step at a time.

Written from the definition of the arithmetic, without the package: what `Twin` is compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

# exponent bits, mantissa bits, bias
MINIFLOATS = {
    "fp8_e4m3": (4, 3, 7),
    "fp8_e5m2": (5, 2, 15),
    "fp6_e3m2": (3, 2, 3),
    "fp6_e2m3": (2, 3, 1),
    "fp4_e2m1": (2, 1, 1),
    "bf16": (8, 7, 127),
    "fp16": (5, 10, 15),
    "fp32": (8, 23, 127),
}
E8M0 = (8, 0, 127)


@dataclass(frozen=True)
class Element:
    """Operands of one side. bits of an integer; fields of a minifloat; block scale and its length."""

    bits: int = 0
    fields: tuple[int, int, int] | None = None
    fraction: int = 0
    scale: tuple[int, int, int] | None = None
    block: int = 0

    @property
    def width(self) -> int:
        """Bits of a code."""
        return self.bits if self.fields is None else 1 + self.fields[0] + self.fields[1]

    @property
    def significand(self) -> int:
        return self.bits if self.fields is None else self.fields[1] + 1

    @property
    def exponents(self) -> int:
        """Largest less smallest effective exponent."""
        return 0 if self.fields is None else (1 << self.fields[0]) - 2


def integer(bits: int, fraction: int = 0, scale: tuple[int, int, int] | None = None, block: int = 0) -> Element:
    return Element(bits, None, fraction, scale, block)


def minifloat(name: str, scale: tuple[int, int, int] | None = None, block: int = 0) -> Element:
    return Element(0, MINIFLOATS[name], 0, scale, block)


@dataclass(frozen=True)
class Arithmetic:
    """How one unit sums. window: of the aligned sum, 0 for exact ones; rounded: the float, or None;
    bits: of an integer or fixed-point accumulator, which wraps around unless it saturates."""

    window: int = 0
    rounded: str | None = None
    bits: int = 0
    saturates: bool = False


def decode(code: int, element: Element) -> tuple[int, int]:
    """(signed significand, effective exponent) of a code."""
    if element.fields is None:
        return code, 0
    exponent_bits, mantissa_bits, _ = element.fields
    sign = -1 if code >> (exponent_bits + mantissa_bits) else 1
    field, mantissa = (code >> mantissa_bits) % (1 << exponent_bits), code % (1 << mantissa_bits)
    return sign * (mantissa + ((1 << mantissa_bits) if field else 0)), max(field, 1)


def scale_value(code: int, fields: tuple[int, int, int]) -> tuple[int, int]:
    """(significand, exponent of its lowest bit) of a scale code."""
    exponent_bits, mantissa_bits, bias = fields
    if mantissa_bits == 0:
        return 1, code - bias
    field, mantissa = (code >> mantissa_bits) % (1 << exponent_bits), code % (1 << mantissa_bits)
    return mantissa + ((1 << mantissa_bits) if field else 0), max(field, 1) - bias - mantissa_bits


def truncated(magnitudes: Sequence[tuple[int, int]], width: int, window: int) -> Fraction:
    """Sum of significand * 2**exponent terms, cut to `window` bits below the top of the largest exponent."""
    top = max(exponent for _, exponent in magnitudes) + width  # weight of the bit above every magnitude
    grain = Fraction(2) ** (top - window)
    total = Fraction(0)
    for significand, exponent in magnitudes:
        own = Fraction(2) ** (exponent + width - window)  # first the bits that its own window drops
        kept = int(abs(significand) * Fraction(2) ** exponent / own) * own
        kept = int(kept / grain) * grain
        total += kept if significand >= 0 else -kept
    return total


def offset(element: Element) -> int:
    """Weight of the lowest significand bit at effective exponent 0."""
    if element.fields is None:
        return -element.fraction
    return -element.fields[2] - element.fields[1]


def step_sum(
    weights: Sequence[int],
    activations: Sequence[int],
    sides: tuple[Element, Element],
    arithmetic: Arithmetic,
    scales: tuple[Sequence[int], Sequence[int]] = ((), ()),
) -> Fraction:
    """What one step adds to the accumulator."""
    w, a = sides
    lanes, block = len(weights), min([side.block for side in sides if side.block] or [0])
    groups = max(1, lanes // block) if block else 1
    each, width = lanes // groups, w.significand + a.significand
    products = []
    for x, y in zip(weights, activations, strict=True):
        (sx, ex), (sy, ey) = decode(x, w), decode(y, a)
        products.append((sx * sy, ex + ey + offset(w) + offset(a)))
    integers = w.fields is None and a.fields is None
    fixed = width + w.exponents + a.exponents
    cut = bool(arithmetic.window) and arithmetic.window < fixed and not integers and lanes > 1
    sums = []
    lowest = offset(w) + offset(a) + sum(side.fields is not None for side in sides)
    for group in range(groups):
        part = products[group * each : (group + 1) * each]
        total = (
            truncated(part, width, arithmetic.window) if cut else sum(Fraction(s) * Fraction(2) ** e for s, e in part)
        )
        scale = Fraction(1)
        for side, codes in zip(sides, scales, strict=True):
            if side.scale is not None:
                significand, exponent = scale_value(codes[group * len(codes) // groups], side.scale)
                scale *= significand * Fraction(2) ** exponent
        sums.append(total * scale)
    if groups == 1:
        return sums[0]
    # a second aligned sum, of 25 bits, over the scaled group sums: fixed-point numbers under the scales' exponents
    assert not cut, "the window covers the elements wherever blocks are shorter than the dot product"
    growth = (each - 1).bit_length()
    bits = fixed + growth - (1 if integers else 0)
    terms = []
    for group, total in enumerate(sums):
        exponent = lowest
        for side, codes in zip(sides, scales, strict=True):
            if side.scale is not None:
                exponent += scale_value(codes[group * len(codes) // groups], side.scale)[1]
        terms.append((int(total / Fraction(2) ** exponent), exponent))
    bits += sum(side.scale[1] + 1 for side in sides if side.scale is not None and side.scale[1])
    return truncated(terms, bits, 25)


def rounded(value: Fraction, name: str) -> int:
    """Bit pattern of `value` in a float: nearest even, subnormals, saturating; an exact zero is +0."""
    exponent_bits, mantissa_bits, bias = MINIFLOATS[name]
    if value == 0:
        return 0
    sign = 1 << (exponent_bits + mantissa_bits) if value < 0 else 0
    magnitude, exponent = abs(value), 1 - bias
    while magnitude >= Fraction(2) ** (exponent + 1):
        exponent += 1
    steps = magnitude / Fraction(2) ** (exponent - mantissa_bits)
    whole, rest = int(steps), steps - int(steps)
    if rest > Fraction(1, 2) or (rest == Fraction(1, 2) and whole % 2):
        whole += 1
    # the hidden bit carries into the exponent field by itself
    code = whole + ((exponent + bias - 1) << mantissa_bits)
    return sign + min(code, (((1 << exponent_bits) - 1) << mantissa_bits) - 1)


def real(code: int, name: str) -> Fraction:
    """The number that a bit pattern stands for."""
    element = minifloat(name)
    significand, exponent = decode(code, element)
    return significand * Fraction(2) ** (exponent + offset(element))


def accumulate(
    weights: Sequence[Sequence[int]],
    activations: Sequence[Sequence[int]],
    first: Sequence[bool],
    sides: tuple[Element, Element],
    arithmetic: Arithmetic,
    scales: tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]] | None = None,
    interleave: int = 1,
    start: int = 0,
) -> list[int]:
    """The accumulator after every step: bit patterns of floats, signed integers otherwise."""
    held: list[int] = []
    lowest = sum(offset(side) + (side.fields is not None) for side in sides)
    for step, begins in enumerate(first):
        kept = 0 if begins else held[step - interleave] if step >= interleave else start
        pair = ([], []) if scales is None else tuple(side[step] if len(side) else [] for side in scales)
        total = step_sum(weights[step], activations[step], sides, arithmetic, (pair[0], pair[1]))
        if arithmetic.rounded:
            held.append(rounded(real(kept, arithmetic.rounded) + total, arithmetic.rounded))
            continue
        whole = kept + total / Fraction(2) ** lowest
        assert whole.denominator == 1
        half = 1 << (arithmetic.bits - 1)
        held.append(
            min(max(int(whole), -half), half - 1) if arithmetic.saturates else (int(whole) + half) % (2 * half) - half
        )
    return held
