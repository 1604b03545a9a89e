"""The sums of a dot-product unit with a floating-point accumulator, for whole matrices; compiled by numba.

What `twin` computes step by step in NumPy, in one loop over rows, blocks of columns and steps: products of a step
(aligned to the largest exponent, or exact), block scales, the aligned sum of several blocks, the accumulation. Nothing
here is rounded in another way or order; `products` prepares the operands.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codesign.formats.compiled.number import compiled

_LEAST, _MOST = -500, 500  # exponents beyond change no result, as in `twin`


@compiled
def float_sums(
    a: Any, a_exp: Any, w: Any, w_exp: Any, a_scale: Any, a_scale_exp: Any, w_scale: Any, w_scale_exp: Any,
    out: Any, room: Any, kind: Any, lanes: int, groups: int, aligned: bool, place: int, drop: int, farthest: int,
    base: int, group_place: int, group_drop: int, single: bool,
) -> None:  # fmt: skip
    """Final accumulators [B, M, N] (float64 that hold fp32 or fp16 numbers) of significands [B, M, K] and [Bw, K, N].

    *_exp: exponents of each, shaped alike, used if `aligned`. *_scale, *_scale_exp: significands and exponents of the
    block scales of each group of `lanes` products, [B, M, groups] and [Bw, groups, N]. room: [4, columns] of
    `kind`, the integer type of the sums within a group: numba widens integers to 64 bits unless they are cast at every
    step, which takes twice as long. groups: of a step. place, drop: shifts of a product to the left and to the
    right, before it is aligned; farthest: the largest shift of the type. base: exponent of a group's lowest bit where
    all others are 0. group_*: the same shifts for the sums of groups. single: whether the accumulator is fp32, not
    fp16.
    """
    batch, rows, k = a.shape
    columns, width = w.shape[2], room.shape[1]
    steps = k // (lanes * groups)
    largest = 3.4028234663852886e38 if single else 65504.0
    kept, total, error = np.empty(width), np.empty(width), np.empty(width)
    power = np.empty(width)
    total_bits, power_bits = total.view(np.int64), power.view(np.int64)
    found, exponent = np.empty((groups, width), np.int64), np.empty((groups, width), np.int64)
    product, far, summed, top = room[0], room[1], room[2], room[3]
    zero = kind(0)
    for b in range(batch):
        bw = b if w.shape[0] > 1 else 0
        for begin in range(0, columns, width):
            count = np.uintp(min(width, columns - begin))
            first = np.uintp(begin)
            for m in range(rows):
                for j in range(count):
                    kept[j] = 0.0
                for step in range(steps):
                    for g in range(groups):
                        place_of_group = step * groups + g
                        start = place_of_group * lanes
                        for j in range(count):
                            summed[j] = zero
                        if aligned:
                            for j in range(count):
                                top[j] = kind(w_exp[bw, start, first + j] + a_exp[b, m, start])
                            for i in range(1, lanes):
                                e = a_exp[b, m, start + i]
                                for j in range(count):
                                    top[j] = max(top[j], kind(w_exp[bw, start + i, first + j] + e))
                            for i in range(lanes):
                                x, e = a[b, m, start + i], a_exp[b, m, start + i]
                                for j in range(count):
                                    product[j] = kind(w[bw, start + i, first + j] * x)
                                    distance = kind(top[j] - kind(w_exp[bw, start + i, first + j] + e))
                                    far[j] = min(distance, farthest)
                                for j in range(count):
                                    p = product[j]
                                    size = kind(kind(kind(kind(abs(p)) << place) >> drop) >> far[j])
                                    summed[j] = kind(summed[j] + (kind(-size) if p < zero else size))
                        else:
                            for j in range(count):
                                top[j] = zero
                            for i in range(lanes):
                                x = a[b, m, start + i]
                                for j in range(count):
                                    summed[j] = kind(summed[j] + kind(w[bw, start + i, first + j] * x))
                        s, e2 = a_scale[b, m, place_of_group], a_scale_exp[b, m, place_of_group] + base
                        for j in range(count):
                            found[g, j] = np.int64(summed[j]) * (s * w_scale[bw, place_of_group, first + j])
                            exponent[g, j] = e2 + w_scale_exp[bw, place_of_group, first + j] + np.int64(top[j])
                    if groups > 1:
                        for j in range(count):
                            highest = exponent[0, j]
                            for g in range(1, groups):
                                highest = max(highest, exponent[g, j])
                            whole = np.int64(0)
                            for g in range(groups):
                                distance64 = min(highest - exponent[g, j], np.int64(62))
                                q = found[g, j]
                                size64 = ((abs(q) << group_place) >> group_drop) >> distance64
                                whole += -size64 if q < 0 else size64
                            found[0, j] = whole
                            exponent[0, j] = highest - group_place + group_drop
                    for j in range(count):
                        power_bits[j] = (min(max(exponent[0, j], _LEAST), _MOST) + 1023) << 52
                    for j in range(count):
                        term = np.float64(found[0, j]) * power[j]
                        both = kept[j] + term
                        part = both - kept[j]
                        total[j] = both
                        error[j] = (kept[j] - (both - part)) + (term - part)
                    for j in range(count):  # to odd, so that rounding again is right, as in `twin`
                        bits = total_bits[j]
                        up = (error[j] > 0.0) == (bits >= 0)
                        inexact = (error[j] != 0.0) & ((bits & 1) == 0)
                        total_bits[j] = bits + ((1 if up else -1) if inexact else 0)
                    if single:
                        for j in range(count):
                            x64 = total[j]
                            y = min(max(np.float64(np.float32(x64)), -largest), largest)
                            kept[j] = 0.0 if x64 == 0.0 else y
                    else:
                        for j in range(count):
                            power_bits[j] = (max((total_bits[j] >> 52) & 2047, 1009) - 10 + 52) << 52
                        for j in range(count):
                            x64 = total[j]
                            magic = 1.5 * power[j]  # whose last bit is the accumulator's
                            y = min(max((x64 + magic) - magic, -largest), largest)
                            kept[j] = 0.0 if x64 == 0.0 else (np.copysign(y, x64))
                for j in range(count):
                    out[b, m, first + j] = kept[j]
