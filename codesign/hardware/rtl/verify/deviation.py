"""Deviation of a unit's sums from exact ones on the operands of a real layer, computed by the twin."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log10

import numpy as np
import torch
from torch import Tensor

from codesign.formats import FormatPair, get_format
from codesign.formats.format import Amax, Quantized
from codesign.hardware.arithmetic.overflow import required_bits, resolved
from codesign.hardware.rtl.verify.codes import OperandCodes, scale_steps, stepped
from codesign.hardware.rtl.verify.twin import Array, Floats, Twin

MOST_ROWS = MOST_COLUMNS = 16


@dataclass(frozen=True)
class Deviation:
    """Effect of a unit's accumulator on one layer."""

    sqnr_db: float  # power of the exact dot products over that of the unit's errors; inf without errors
    against_fp32_db: float  # the same against the FP32 result that quality is measured with
    overflow: bool  # whether a fixed-point sum wrapped around or saturated
    steps: int  # of each dot product
    outputs: int  # number of dot products


def deviation(
    pair: FormatPair,
    accumulator: str,
    lanes: int,
    weight: Tensor | Quantized,
    activation: Tensor,
    *,
    ranges: tuple[Amax | None, Amax | None] = (None, None),
    bits: int | None = None,
) -> Deviation:
    """Deviation of a layer's dot products in a unit of `lanes` products per step.

    weight: [N, K] or [N, T, C], or what it was rounded to (`OperandCodes.of`); activation: [M, K] or [M, T, C]; the
    unit sums K = T taps of C channels in this order. Blocks run along C, the last one of a tap padded. Without `ranges`
    (of weight and activation), weights in formats without blocks have one scale per row and activations a single scale,
    or one per row in a format per token; a tensor [rows, 1] gives a range per row. At most 16 x 16 evenly spread
    outputs are computed. bits: width of a fixed-point accumulator, if a unit of several formats has a wider one.
    Raises InputError as `Twin` does.
    """
    twin = Twin(pair, accumulator, lanes, bits=bits)
    block = max(twin.mode.weight.block, twin.mode.activation.block)
    columns, rows = _spread(weight.shape[0], MOST_COLUMNS), _spread(len(activation), MOST_ROWS)
    some = weight.rows(torch.from_numpy(columns)) if isinstance(weight, Quantized) else weight[columns]
    w = OperandCodes.of(get_format(pair.weight), some, _chosen(ranges[0], columns), True, block)
    a = OperandCodes.of(get_format(pair.activation), activation[rows], _chosen(ranges[1], rows), False, block)
    codes = stepped(w.codes, lanes)[..., None], stepped(a.codes, lanes)[:, :, None]
    scales = (
        None if w.scale_codes is None else scale_steps(w, lanes)[..., None],
        None if a.scale_codes is None else scale_steps(a, lanes)[:, :, None],
    )
    steps = len(codes[0])
    unit = np.atleast_2d(w.outer)[..., None].reshape(-1, 1) * a.outer  # scales outside of the unit, [N or 1, 1]
    if twin.mode.float_element:
        found = twin.value(twin.run(*codes, np.arange(steps) == 0, *scales)[-1])
        exact = w.elements @ a.elements.T
        wrapped = np.zeros(0)
    else:
        # a float64 product is not exact for wide fixed-point sums; sums in a wide enough accumulator are
        wide = Twin(pair, accumulator, lanes, bits=required_bits(pair, steps * lanes))
        summed = twin.run(*codes, np.arange(steps) == 0, *scales)[-1]
        unlimited = wide.run(*codes, np.arange(steps) == 0, *scales)[-1]
        wrapped = summed != unlimited
        found, exact = twin.value(summed), wide.value(unlimited)
    single = (w.dequantized @ a.dequantized.T).double().numpy()
    return Deviation(
        _decibels(exact * unit, (found - exact) * unit),
        _decibels(single, found * unit - single),
        bool(np.any(wrapped)),
        steps,
        found.size,
    )


def described(pair: FormatPair, accumulator: str, lanes: int) -> str:
    """The accumulation of a pair in words: ``int32``, ``aligned25, fp32``, ``exact blocks, fp32``."""
    found = resolved(pair, accumulator)
    if not found.significand:
        return f"{'int' if found.kind == 'integer' else 'exact'}{found.bits}{'_sat' if found.saturates else ''}"
    if lanes == 1:
        return f"fp{found.bits}"
    inside = f"aligned{found.window}" if found.kind == "float" else "exact"
    return f"{inside}{' blocks' if found.after_block else ''}, fp{found.bits}"


def _chosen(amax: Amax | None, rows: Array) -> Amax | None:
    """The ranges of some rows, where they are given by row."""
    if isinstance(amax, tuple):
        low, high = (bound[rows] if isinstance(bound, Tensor) else bound for bound in amax)
        return low, high
    return amax[rows] if isinstance(amax, Tensor) else amax


def _spread(count: int, most: int) -> Array:
    """At most `most` evenly spread indices below `count`."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


def _decibels(signal: Floats, noise: Floats) -> float:
    power, lost = float(np.square(signal).sum()), float(np.square(noise).sum())
    if lost == 0:
        return inf
    return 10 * log10(power / lost) if power else -inf
