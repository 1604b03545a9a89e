"""What the loops do to one number, and to one group's scale. Compiled into the loops that call it.

Numbers are float32, or the bits of bfloat16 (uint16). What a number goes through is `rounded`, as in `reference`:
division, clamping, rounding by a magic number, sign, rescaling.

A parameter that is not wanted is None, which numba compiles out. Integers are cast at every step, since numba widens
them to 64 bits, which keeps a loop from being vectorized.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

_FLOAT, _SIGN, _EXPONENT = np.int32(0x7FFFFFFF), np.int32(-0x80000000), np.int32(0x7F800000)
TO_INTEGER = np.float32(1.5 * 2.0**23)
FLOOR, CEILED, EVEN, STORED, TWO_LEVEL = range(5)  # kinds of `scale_of`


def _sources() -> str:
    """A digest of this folder: numba itself looks at the file of a function alone to see whether what it has is old."""
    folder = Path(__file__).parent
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(folder.glob("*.py")))).hexdigest()[:8]


_DIGEST = _sources()


def compiled(function: Any) -> Any:
    """A function that numba compiles at first use, and keeps on disk where it can."""
    function.__qualname__ += f"_{_DIGEST}"  # part of the file's name
    options = {"nogil": True, "error_model": "numpy", "boundscheck": False}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return numba.njit(**options)(function)


@intrinsic
def bits_of(_context: Any, x: Any) -> Any:
    """The bits of a float32 as an int32."""
    return types.int32(types.float32), lambda _c, builder, _s, args: builder.bitcast(args[0], ir.IntType(32))


@intrinsic
def number(_context: Any, x: Any) -> Any:
    """The float32 of bits in an int32."""
    return types.float32(types.int32), lambda _c, builder, _s, args: builder.bitcast(args[0], ir.FloatType())


@intrinsic
def _pointer(_context: Any, address: Any, like: Any) -> Any:
    """A pointer to numbers like this one."""
    kind = types.CPointer(like)

    def emit(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(kind))

    return kind(types.int64, like), emit


@compiled
def array_at(address: int, count: int, like: Any) -> Any:
    return numba.carray(_pointer(address, like), count)


def wide(x: Any) -> Any:
    """An array's number as float32."""


@overload(wide, strict=False)
def _(x: Any) -> Any:
    if x == types.float32:
        return lambda x: x
    return lambda x: number(np.int32(np.uint32(x) << np.uint32(16)))


def narrow(y: Any, array: Any) -> Any:
    """A float32 as a number of an array: as it is, or rounded to bfloat16, ties to even.

    Of NaN, those that came from bfloat16: others might carry into the sign.
    """


@overload(narrow, strict=False)
def _(y: Any, array: Any) -> Any:
    if array.dtype == types.float32:
        return lambda y, array: y
    return lambda y, array: np.uint16(brain(y) >> np.uint32(16))


@compiled
def brain(y: Any) -> Any:
    """The bits of a float32, the upper half rounded to bfloat16: a carry out of the fraction raises the exponent."""
    bits = np.uint32(bits_of(y))
    return np.uint32(bits + np.uint32(0x7FFF) + np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(1)))


@compiled
def clamped(y: Any, low: Any, high: Any) -> Any:
    """NaN stays NaN."""
    y = low if y < low else y
    return high if y > high else y


def nearest(y: Any, x: Any, magic: Any, smallest: Any) -> Any:
    """`y`, which has the sign of `x`, rounded to an element, by what is given of it:

    an integer     magic: its magic number; smallest: None
    a float        magic: the bits that add up to the magic number of a power of two; smallest: those of the smallest
    one without    smallest: a pair, of which the second are the bits that the magic number of all below the first is
      subnormals   made of
    a list         smallest: (borders, values), see `tabulated`
    """


@overload(nearest, strict=False)
def _(y: Any, x: Any, magic: Any, smallest: Any) -> Any:
    if isinstance(smallest, types.NoneType):
        return lambda y, x, magic, smallest: np.float32(np.float32(y + magic) - magic)
    if isinstance(smallest, types.Integer):

        def with_subnormals(y: Any, x: Any, magic: Any, smallest: Any) -> Any:
            power = np.int32(bits_of(y) & _EXPONENT)
            return _stepped(y, x, np.int32((smallest if power < smallest else power) + magic))

        return with_subnormals
    if isinstance(smallest[0], types.Integer):

        def without_subnormals(y: Any, x: Any, magic: Any, smallest: Any) -> Any:
            power = np.int32(bits_of(y) & _EXPONENT)
            return _stepped(y, x, np.int32((smallest[1] if power < smallest[0] else power) + magic))

        return without_subnormals

    def listed(y: Any, x: Any, magic: Any, smallest: Any) -> Any:
        borders, values = smallest
        low, high = np.uintp(0), np.uintp(len(borders))
        while low < high:
            middle = (low + high) >> np.uintp(1)
            if borders[middle] < y:
                low = middle + np.uintp(1)
            else:
                high = middle
        return y if y != y else values[low]

    return listed


@compiled
def _stepped(y: Any, x: Any, bits: Any) -> Any:
    """`y` rounded by the magic number of these bits, with the sign of `x`."""
    step = number(bits)
    y = (y + step) - step
    return number(np.int32(bits_of(y) | np.int32(bits_of(x) & _SIGN)))


@compiled
def rounded(x: Any, scale: Any, low: Any, high: Any, magic: Any, smallest: Any, rescale: bool, largest: Any) -> Any:
    y = x / scale
    if low is not None:
        y = clamped(y, low, high)
    y = nearest(y, x, magic, smallest)
    if rescale:
        y = y * scale
    return y if largest is None else clamped(y, -largest, largest)


def magnitude(x: Any) -> Any:
    """The bits of an array's number without its sign: ordered as magnitudes are, NaN after all others."""


@overload(magnitude, strict=False)
def _(x: Any) -> Any:
    if x == types.float32:
        return lambda x: np.int32(bits_of(x) & _FLOAT)
    return lambda x: np.uint16(x & np.uint16(0x7FFF))


def order(x: Any) -> Any:
    """An integer that grows with an array's number; NaN comes before or after all others."""


@overload(order, strict=False)
def _(x: Any) -> Any:
    if x == types.float32:
        return lambda x: np.int32(bits_of(x) ^ np.int32(np.int32(bits_of(x) >> np.int32(31)) & _FLOAT))
    return lambda x: np.int16(np.int16(x) ^ np.int16(np.int16(np.int16(x) >> np.int16(15)) & np.int16(0x7FFF)))


def of_magnitude(found: Any) -> Any:
    """The float32 of a `magnitude`."""


@overload(of_magnitude, strict=False)
def _(found: Any) -> Any:
    if found == types.int32:
        return lambda found: number(found)
    return lambda found: wide(found)


def of_order(found: Any) -> Any:
    """The float32 of an `order`."""


@overload(of_order, strict=False)
def _(found: Any) -> Any:
    if found == types.int32:
        return lambda found: number(np.int32(found ^ np.int32(np.int32(found >> np.int32(31)) & _FLOAT)))
    return lambda found: wide(np.uint16(np.int16(found ^ np.int16(np.int16(found >> np.int16(15)) & np.int16(0x7FFF)))))


@compiled
def scale_of(most: Any, rule: Any) -> Any:
    """What elements are divided by in a group whose largest magnitude is `most`, as `scaling` finds it.

    rule: see `compiled.ScaleRule`.
    """
    kind, exponent, limit, divisor, tensor, least, largest, magic, smallest = rule
    if kind < STORED:
        found, most_bits = np.int32(bits_of(most) & _EXPONENT), np.int32(0x7F000000 + (exponent if exponent < 0 else 0))
        power = np.int32((found if found < most_bits else most_bits) - exponent)
        scale = clamped(number(power if power > np.int32(0x00400000) else np.int32(0x00400000)), least, largest)
        twice = scale * np.float32(2)
        twice = twice if twice < largest else largest
        above = most > scale * limit if kind == CEILED else most >= scale * limit
        scale = twice if kind != FLOOR and above else scale
        return np.float32(1) if most == np.float32(0) else scale
    scale = most / divisor
    empty = kind == STORED and scale == np.float32(0)
    scale = clamped(scale / tensor, least, largest)
    if magic != 0:
        scale = rounded(scale, np.float32(1), None, None, magic, smallest, False, None)
    return np.float32(1) if empty else scale * tensor


@compiled
def asymmetric_of(least: Any, most: Any, rule: Any, levels: Any) -> Any:
    """Scale and zero point, counted from the lowest code."""
    _, _, _, _, _, smallest_scale, largest, magic, smallest = rule
    scale = most / levels - least / levels
    empty = scale == np.float32(0)
    scale = clamped(scale, smallest_scale, largest)
    if magic != 0:
        scale = rounded(scale, np.float32(1), None, None, magic, smallest, False, None)
    scale = np.float32(1) if empty else scale
    zero = np.float32(np.float32(-least / scale + TO_INTEGER) - TO_INTEGER)
    return scale, clamped(zero, np.float32(0), levels)
