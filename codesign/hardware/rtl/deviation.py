"""How far a unit's sums are from exact ones on the tensors of a real layer, computed by the twin."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log10

import numpy as np
import torch
from torch import Tensor

from codesign.formats import FloatElement, Format, FormatPair, get_format
from codesign.formats.format import Amax, Quantized
from codesign.hardware.overflow import required_bits, resolved
from codesign.hardware.rtl.twin import Array, Floats, Twin

MOST_ROWS = MOST_COLUMNS = 16


@dataclass(frozen=True)
class Deviation:
    """What the accumulator of a unit does to one layer.

    sqnr_db: power of the exact dot products of the quantized operands over that of the unit's
    difference from them; inf where there is none. against_fp32_db: the same against the FP32 result
    that quality is measured with. overflow: a fixed-point sum wrapped. steps, outputs: the sample.
    """

    sqnr_db: float
    against_fp32_db: float
    overflow: bool
    steps: int
    outputs: int


def deviation(
    pair: FormatPair,
    accumulator: str,
    lanes: int,
    weight: Tensor,
    activation: Tensor,
    *,
    ranges: tuple[Amax | None, Amax | None] = (None, None),
    bits: int | None = None,
) -> Deviation:
    """Deviation of a layer's dot products in a unit of `lanes` products a step.

    weight: [N, K] or [N, T, C], activation: [M, K] or [M, T, C], K = T taps of C channels, in which
    order the unit sums them. Blocks run along C, the last one of a tap padded; other weights take a
    scale per row and other activations one for all, as quality does, unless `ranges` (of weight and
    activation) are given. At most 16 x 16 outputs, evenly spread, are computed.
    bits: width of a fixed-point accumulator, where a unit of several formats has a wider one.
    Raises InputError where `Twin` does.
    """
    twin = Twin(pair, accumulator, lanes, bits=bits)
    block = max(twin.mode.weight.block, twin.mode.activation.block)
    w = _Operand.of(get_format(pair.weight), weight[_spread(len(weight), MOST_COLUMNS)], ranges[0], True, block)
    a = _Operand.of(
        get_format(pair.activation), activation[_spread(len(activation), MOST_ROWS)], ranges[1], False, block
    )
    codes = _stepped(w.codes, lanes)[..., None], _stepped(a.codes, lanes)[:, :, None]
    scales = (
        None if w.scale_codes is None else _scale_steps(w, lanes)[..., None],
        None if a.scale_codes is None else _scale_steps(a, lanes)[:, :, None],
    )
    steps = len(codes[0])
    unit = np.atleast_2d(w.outer)[..., None].reshape(-1, 1) * a.outer  # scales outside of the unit, [N or 1, 1]
    if twin.mode.float_element:
        found = twin.value(twin.run(*codes, np.arange(steps) == 0, *scales)[-1])
        exact = w.elements @ a.elements.T
        wrapped = np.zeros(0)
    else:
        # the float64 product is not exact for wide fixed-point sums: the same sums without a limit are
        wide = Twin(pair, accumulator, lanes, bits=required_bits(pair, steps * lanes))
        summed = twin.run(*codes, np.arange(steps) == 0)[-1]
        unlimited = wide.run(*codes, np.arange(steps) == 0)[-1]
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
    """What sums the products of a pair, in words: ``int32``, ``aligned25, fp32``, ``exact blocks, fp32``."""
    found = resolved(pair, accumulator)
    if not found.significand:
        return f"{'int' if found.kind == 'integer' else 'exact'}{found.bits}"
    if lanes == 1:
        return f"fp{found.bits}"
    inside = f"aligned{found.window}" if found.kind == "float" else "exact"
    return f"{inside}{' blocks' if found.after_block else ''}, fp{found.bits}"


@dataclass(frozen=True)
class _Operand:
    """One quantized operand, contraction flat and padded: what the unit reads and what it stands for.

    codes: [rows, K]; scale_codes: [rows, K / block] or None; elements: float64 [rows, K], block scales
    applied; outer: scales outside of the unit, [rows] or a scalar; dequantized: float32 [rows, K].
    """

    codes: Array
    scale_codes: Array | None
    block: int
    elements: Floats
    outer: Floats
    dequantized: Tensor

    @classmethod
    def of(cls, form: Format, x: Tensor, amax: Amax | None, per_row: bool, block: int) -> _Operand:
        """Quantize `x` [rows, C] or [rows, T, C] as quality does; pads C to `block`, the longest of both sides."""
        x = x.detach().float()
        x = x[:, None] if x.ndim == 2 else x
        rows, taps, channels = x.shape
        if form.is_block:
            q = form.quantize(x, axis=-1)
        else:
            q = form.quantize(x.flatten(1), axis=-1 if per_row and amax is None else None, amax=amax)
        pad = -channels % block if block else 0
        codes = _padded(_codes(q).reshape(rows, taps, channels), pad)
        values = _padded(_values(q).reshape(rows, taps, channels), pad)
        dequantized = torch.nn.functional.pad(q.dequantize().reshape(rows, taps, channels), (0, pad)).flatten(1)
        own = form.scaling.block if form.scaling is not None else None
        if own is None:
            outer = np.ones(()) if q.scales is None else q.scales.double().numpy().reshape(-1)
            return cls(codes.reshape(rows, -1), None, 0, values.reshape(rows, -1), outer, dequantized)
        assert q.scales is not None
        blocks = -(-(channels + pad) // own)
        scale = _padded(q.scales.double().numpy().reshape(rows, taps, -1), 0, blocks)
        scale_codes = _padded(_unsigned(q.scale_codes(), form).reshape(rows, taps, -1), 0, blocks)
        values = values * np.repeat(scale, own, axis=2)
        outer = np.ones(()) if q.tensor_scale is None else q.tensor_scale.double().numpy()
        return cls(
            codes.reshape(rows, -1), scale_codes.reshape(rows, -1), own, values.reshape(rows, -1), outer, dequantized
        )


def _codes(q: Quantized) -> Array:
    """What the multiplier reads: bit patterns, or integers less their zero points."""
    codes = q.codes.long()
    if q.zero_points is not None:
        codes = codes - _per_element(q, q.zero_points.long())
    elif isinstance(q.format.element, FloatElement):
        codes = codes & (1 << q.format.element.bits) - 1
    return codes.numpy()


def _values(q: Quantized) -> Floats:
    """Values of the elements before any scale, float64."""
    values = q.format.element.decode(q.codes).double()
    if q.zero_points is not None:
        values = values - _per_element(q, q.format.element.decode(q.zero_points).double())
    return values.numpy()


def _per_element(q: Quantized, shared: Tensor) -> Tensor:
    """A number per scale as one per element."""
    scaling = q.format.scaling
    if q.axis is None or scaling is None or scaling.block is None:
        return shared
    length = q.shape[q.axis]
    return shared.repeat_interleave(min(scaling.block, length), dim=q.axis).narrow(q.axis, 0, length)


def _unsigned(codes: Tensor, form: Format) -> Array:
    assert form.scaling is not None
    return (codes.long() & (1 << form.scaling.scale.bits) - 1).numpy()


def _padded(x: Array, pad: int, length: int = 0) -> Array:
    """`x` with zeros behind its last axis: `pad` of them, or up to `length`."""
    pad = max(pad, length - x.shape[-1])
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, pad)])


def _stepped(codes: Array, lanes: int) -> Array:
    """[rows, K] as steps [steps, lanes, rows], padded with zeros."""
    rows, k = codes.shape
    return _padded(codes, -k % lanes).reshape(rows, -1, lanes).transpose(1, 2, 0)


def _scale_steps(operand: _Operand, lanes: int) -> Array:
    """Scale codes of every step, [steps, scales a step, rows].

    A padded block takes code 0, the smallest scale, so that it never decides an alignment.
    """
    assert operand.scale_codes is not None
    codes = operand.scale_codes
    if lanes < operand.block:
        codes = np.repeat(codes, operand.block // lanes, axis=1)
    return _stepped(codes, max(1, lanes // operand.block))


def _spread(count: int, most: int) -> Array:
    """Indices of at most `most` of `count` rows, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


def _decibels(signal: Floats, noise: Floats) -> float:
    power, lost = float(np.square(signal).sum()), float(np.square(noise).sum())
    if lost == 0:
        return inf
    return 10 * log10(power / lost) if power else -inf
