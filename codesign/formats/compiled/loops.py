"""The loops of the compiled quantizer: each number is read, rounded and written once. Compiled by numba, kept on disk.

Arrays are flat. Every loop takes a part of its groups or rows, first .. last, so that threads may share the work; none
allocates, and none depends on the order of a sum. What happens to one number is in `number`. Indices are unsigned:
negative ones would count from the end, which keeps a loop from being vectorized.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codesign.formats.compiled.number import (
    array_at,
    asymmetric_of,
    brain,
    clamped,
    compiled,
    magnitude,
    narrow,
    number,
    of_magnitude,
    of_order,
    order,
    rounded,
    scale_of,
    wide,
)
from codesign.formats.compiled.team import share

_ONE, _TWO = np.uintp(1), np.uintp(2)


# ---- groups ------------------------------------------------------------------------------------


@compiled
def _start(group: int, length: int, k: int) -> Any:
    """How many blocks a slice of `length` numbers has; where a group begins, and which of these blocks it is."""
    blocks = -(-length // k)
    return np.uintp(blocks), np.uintp(group // blocks * length + group % blocks * k), np.uintp(group % blocks)


@compiled
def _next(place: Any, blocks: Any, length: int, k: int) -> Any:
    """How many numbers this block has, and the place of the one after it; the last of a slice may be short."""
    if place == blocks - _ONE:
        return np.uintp(length) - place * np.uintp(k), np.uintp(0)
    return np.uintp(k), place + _ONE


# ---- rounding ----------------------------------------------------------------------------------


@compiled
def _fake_whole(
    x: Any, out: Any, first: int, last: int,
    scale: Any, low: Any, high: Any, magic: Any, smallest: Any, rescale: bool, largest: Any,
) -> None:  # fmt: skip
    """Numbers that all have one scale."""
    for i in range(np.uintp(first), np.uintp(last)):
        y = rounded(wide(x[i]), scale, low, high, magic, smallest, rescale, largest)
        out[i] = narrow(y, out)


@compiled
def _fake_in_place(
    x: Any, first: int, last: int,
    scale: Any, low: Any, high: Any, magic: Any, smallest: Any, rescale: bool, largest: Any,
) -> None:  # fmt: skip
    """The same where results take the numbers' place: with two names for one array, a loop is not vectorized."""
    for i in range(np.uintp(first), np.uintp(last)):
        x[i] = narrow(rounded(wide(x[i]), scale, low, high, magic, smallest, rescale, largest), x)


@compiled
def _fake_groups(
    x: Any, out: Any, first: int, last: int, length: int, k: int,
    scales: Any, lows: Any, highs: Any, low: Any, high: Any, magic: Any, smallest: Any, rescale: bool, largest: Any,
) -> None:  # fmt: skip
    """Groups of neighbours in memory, two at a time: vectors of bfloat16 are longer than the blocks of NVFP4.

    lows, highs: the ends of the range of each group's elements, in place of `low` and `high`.
    """
    blocks, begin, place = _start(first, length, k)
    for g in range(np.uintp(first), np.uintp(last), _TWO):
        count, place = _next(place, blocks, length, k)
        other: Any = g
        end = count
        if g + _ONE < np.uintp(last):
            other = g + _ONE
            more, place = _next(place, blocks, length, k)
            end += more
        scale_a, scale_b, border = scales[g], scales[other], np.int32(count)
        if lows is None:
            for i in range(np.uintp(0), end):
                scale = scale_a if np.int32(i) < border else scale_b
                y = rounded(wide(x[begin + i]), scale, low, high, magic, smallest, rescale, largest)
                out[begin + i] = narrow(y, out)
        else:
            low_a, low_b, high_a, high_b = lows[g], lows[other], highs[g], highs[other]
            for i in range(np.uintp(0), end):
                scale = scale_a if np.int32(i) < border else scale_b
                of_low = low_a if np.int32(i) < border else low_b
                of_high = high_a if np.int32(i) < border else high_b
                y = rounded(wide(x[begin + i]), scale, of_low, of_high, magic, smallest, rescale, largest)
                out[begin + i] = narrow(y, out)
        begin += end


@compiled
def _fake_rows(
    x: Any, out: Any, first: int, last: int, length: int, k: int, inner: int,
    scales: Any, lows: Any, highs: Any, low: Any, high: Any, magic: Any, smallest: Any, rescale: bool, largest: Any,
) -> None:  # fmt: skip
    """Rows of `inner` neighbours in memory, each number of another group: k rows have their scales in common."""
    blocks = -(-length // k)
    for r in range(first, last):
        begin, g = np.uintp(r * inner), np.uintp((r // length * blocks + r % length // k) * inner)
        if lows is None:
            for i in range(np.uintp(0), np.uintp(inner)):
                y = rounded(wide(x[begin + i]), scales[g + i], low, high, magic, smallest, rescale, largest)
                out[begin + i] = narrow(y, out)
        else:
            for i in range(np.uintp(0), np.uintp(inner)):
                y = wide(x[begin + i])
                y = rounded(y, scales[g + i], lows[g + i], highs[g + i], magic, smallest, rescale, largest)
                out[begin + i] = narrow(y, out)


@compiled
def _cast(x: Any, out: Any, first: int, last: int, limit: Any, magic: Any, smallest: Any, most: Any) -> None:
    """Numbers without a scale, clamped to ±limit and rounded: to float16, to bfloat16 if `smallest` is None, or not at
    all if `magic` is None too. most: what `out` can hold; None: every result."""
    for i in range(np.uintp(first), np.uintp(last)):
        y = clamped(wide(x[i]), -limit, limit)
        if smallest is not None:
            y = rounded(y, np.float32(1), None, None, magic, smallest, False, None)
        elif magic is not None and y == y:
            y = number(np.int32(brain(y) & np.uint32(0xFFFF0000)))
        out[i] = narrow(y if most is None else clamped(y, -most, most), out)


# ---- measuring ---------------------------------------------------------------------------------


@compiled
def _magnitudes_of_groups(x: Any, most: Any, first: int, last: int, length: int, k: int) -> None:
    """The `magnitude` of each group's largest number."""
    blocks, begin, place = _start(first, length, k)
    for g in range(np.uintp(first), np.uintp(last)):
        count, place = _next(place, blocks, length, k)
        found = magnitude(x[begin])
        for i in range(begin + _ONE, begin + count):
            y = magnitude(x[i])
            found = y if y > found else found
        most[g] = found
        begin += count


@compiled
def _magnitudes_of_rows(x: Any, most: Any, first: int, last: int, length: int, k: int, inner: int) -> None:
    """The same of groups whose numbers are `inner` apart; first, last: of blocks."""
    blocks, begin, place = _start(first, length, k)
    for b in range(first, last):
        g = np.uintp(b * inner)
        count, place = _next(place, blocks, length, k)
        for r in range(begin, begin + count):
            for i in range(np.uintp(0), np.uintp(inner)):
                y = magnitude(x[r * np.uintp(inner) + i])
                most[g + i] = y if y > most[g + i] else most[g + i]
        begin += count


@compiled
def _extremes_of_groups(x: Any, lows: Any, highs: Any, first: int, last: int, length: int, k: int) -> None:
    """The `order` of the least and the largest of each group's numbers and 0."""
    blocks, begin, place = _start(first, length, k)
    for g in range(np.uintp(first), np.uintp(last)):
        count, place = _next(place, blocks, length, k)
        low = high = order(x[begin])
        for i in range(begin + _ONE, begin + count):
            y = order(x[i])
            low, high = (y if y < low else low), (y if y > high else high)
        lows[g], highs[g] = (low if low < lows[g] else lows[g]), (high if high > highs[g] else highs[g])
        begin += count


@compiled
def _extremes_of_rows(x: Any, lows: Any, highs: Any, first: int, last: int, length: int, k: int, inner: int) -> None:
    """The same of groups whose numbers are `inner` apart; first, last: of blocks."""
    blocks, begin, place = _start(first, length, k)
    for b in range(first, last):
        g = np.uintp(b * inner)
        count, place = _next(place, blocks, length, k)
        for r in range(begin, begin + count):
            for i in range(np.uintp(0), np.uintp(inner)):
                y = order(x[r * np.uintp(inner) + i])
                lows[g + i] = y if y < lows[g + i] else lows[g + i]
                highs[g + i] = y if y > highs[g + i] else highs[g + i]
        begin += count


@compiled
def _diffuse(
    x: Any, elements: Any, values: Any, errors: Any, first: int, last: int, weights: Any, rows: int, columns: int,
    scales: Any, lows: Any, highs: Any, magic: Any, smallest: Any,
) -> None:  # fmt: skip
    """Rows whose numbers are rounded one after the other, each error taken from those that follow, see `kernel`.

    x, elements, values, errors: [rows of all groups, columns]; weights: [groups, columns, columns].
    """
    n = np.uintp(columns)
    for r in range(np.uintp(first), np.uintp(last)):
        begin, group = r * n, r // np.uintp(rows) * n * n
        scale, low, high = scales[r], lows[r], highs[r]
        for j in range(n):
            y = x[begin + j]
            found = rounded(y, scale, low, high, magic, smallest, False, None)
            meant = found * scale
            row = group + j * n
            error = (y - meant) / weights[row + j]
            elements[begin + j], values[begin + j], errors[begin + j] = found, meant, error
            for i in range(j + _ONE, n):
                x[begin + i] = x[begin + i] - error * weights[row + i]


# ---- measuring and rounding at once ------------------------------------------------------------


@compiled
def _scales_of_groups(
    x: Any, scales: Any, lows: Any, highs: Any, unusual: Any, first: int, last: int, length: int, k: int,
    rule: Any, low: Any, high: Any, border: Any,
) -> None:  # fmt: skip
    """The scale of each group; of elements with a zero point, whose ends are low .. high, the ends of its range too.

    unusual: becomes 1 where a magnitude is at least `border`, or NaN.
    """
    blocks, begin, place = _start(first, length, k)
    strange = np.int32(0)
    if lows is None:
        for g in range(np.uintp(first), np.uintp(last)):
            count, place = _next(place, blocks, length, k)
            found = magnitude(x[begin])
            for i in range(begin + _ONE, begin + count):
                y = magnitude(x[i])
                found = y if y > found else found
            scales[g] = of_magnitude(found)
            begin += count
        for g in range(np.uintp(first), np.uintp(last)):
            most = scales[g]
            strange = np.int32(strange | np.int32(not most < border))
            scales[g] = scale_of(most, rule)
    else:
        for g in range(np.uintp(first), np.uintp(last)):
            count, place = _next(place, blocks, length, k)
            bottom = top = order(x[begin])
            for i in range(begin + _ONE, begin + count):
                y = order(x[i])
                bottom, top = (y if y < bottom else bottom), (y if y > top else top)
            lows[g], highs[g] = of_order(bottom), of_order(top)
            begin += count
        for g in range(np.uintp(first), np.uintp(last)):
            least, most = lows[g], highs[g]
            strange = np.int32(strange | np.int32(not (most < border and -least < border)))
            least = least if least < np.float32(0) else np.float32(0)
            most = most if most > np.float32(0) else np.float32(0)
            scales[g], zero = asymmetric_of(least, most, rule, high - low)
            zero = zero + low
            lows[g], highs[g] = low - zero, high - zero
    if strange:
        unusual[0] = 1


@compiled
def _fake_measured(
    x: Any, out: Any, first: int, last: int, length: int, k: int,
    scales: Any, lows: Any, highs: Any, unusual: Any, rule: Any, low: Any, high: Any, border: Any,
    magic: Any, smallest: Any,
) -> None:  # fmt: skip
    """Groups with scales of their own data, a few at a time: the numbers stay in the nearest cache."""
    few = max(2, 2 * (2048 // (2 * k)))
    for begin in range(first, last, few):
        end = min(begin + few, last)
        _scales_of_groups(x, scales, lows, highs, unusual, begin, end, length, k, rule, low, high, border)
        _fake_groups(x, out, begin, end, length, k, scales, lows, highs, low, high, magic, smallest, True, None)


# ---- in threads: team and threads as in `share`; first, last: what is shared out ----------------
# Each is written out: numba finds what it has kept by the function, not where a loop is an argument or in a closure.


@compiled
def fake_whole(team: Any, threads: int, first: int, last: int, before: Any, after: Any) -> None:
    share(team, _fake_whole, threads, first, last, before, after)


@compiled
def fake_at(team: Any, threads: int, first: int, last: int, places: Any, constants: Any) -> None:
    """`fake_whole` of numbers at two addresses, by constants of Python's types: a call costs less than with arrays."""
    source, target, like = places
    scale, low, high, magic, smallest = constants
    x, out = array_at(source, last, like), array_at(target, last, like)
    after = (np.float32(scale), np.float32(low), np.float32(high), magic, smallest, True, None)
    if source == target:
        share(team, _fake_in_place, threads, first, last, (x,), after)
    else:
        share(team, _fake_whole, threads, first, last, (x, out), after)


@compiled
def fake_groups(team: Any, threads: int, first: int, last: int, before: Any, after: Any) -> None:
    share(team, _fake_groups, threads, first, last, before, after)


@compiled
def fake_rows(team: Any, threads: int, first: int, last: int, before: Any, after: Any) -> None:
    share(team, _fake_rows, threads, first, last, before, after)


@compiled
def cast(team: Any, threads: int, first: int, last: int, before: Any, after: Any) -> None:
    share(team, _cast, threads, first, last, before, after)


@compiled
def magnitudes_of_groups(team: Any, threads: int, first: int, last: int, before: Any, after: Any) -> None:
    share(team, _magnitudes_of_groups, threads, first, last, before, after)


@compiled
def magnitudes_of_rows(team: Any, threads: int, first: int, last: int, before: Any, after: Any) -> None:
    share(team, _magnitudes_of_rows, threads, first, last, before, after)


@compiled
def extremes_of_groups(team: Any, threads: int, first: int, last: int, before: Any, after: Any) -> None:
    share(team, _extremes_of_groups, threads, first, last, before, after)


@compiled
def extremes_of_rows(team: Any, threads: int, first: int, last: int, before: Any, after: Any) -> None:
    share(team, _extremes_of_rows, threads, first, last, before, after)


@compiled
def fake_measured(team: Any, threads: int, first: int, last: int, before: Any, after: Any) -> None:
    share(team, _fake_measured, threads, first, last, before, after)


@compiled
def diffuse(team: Any, threads: int, first: int, last: int, before: Any, after: Any) -> None:
    share(team, _diffuse, threads, first, last, before, after)
