"""Operands of a layer as the codes that a unit reads step by step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from codesign.formats import Format, IntElement, get_format
from codesign.formats.format import Amax, Quantized
from codesign.hardware.rtl.verify.twin import Array, Floats


@dataclass(frozen=True)
class OperandCodes:
    """One quantized operand with flattened, padded contraction: its codes and their values."""

    codes: Array  # [rows, K]
    scale_codes: Array | None  # [rows, K / block]; None without block scales
    block: int
    elements: Floats  # float64 [rows, K], values of codes with block scales applied
    outer: Floats  # scales that are applied outside of the unit, [rows] or a scalar
    dequantized: Tensor  # float32 [rows, K]

    @classmethod
    def of(cls, form: Format, x: Tensor | Quantized, amax: Amax | None, per_row: bool, block: int) -> OperandCodes:
        """Quantize `x` [rows, C] or [rows, T, C] as quality does; C is padded to `block`, the larger of the two.

        What is quantized already, with scales of its rows or of blocks along C, keeps its codes and scales. A format
        without blocks has one scale per row if its range is given by row, [rows, 1], if it is not given and `per_row`,
        or if the format is per token; otherwise a single one.
        """
        rows, taps, channels = x.shape if len(x.shape) == 3 else (x.shape[0], 1, x.shape[1])
        if isinstance(x, Quantized):
            assert x.format.name == form.datapath
            q = x
        elif form.is_block:
            q = form.quantize(x.detach().float().reshape(rows, taps, channels), axis=-1, amax=amax)
        else:
            by_row = form.per_token or (per_row if amax is None else _by_row(amax))
            flat = x.detach().float().reshape(rows, -1)
            q = get_format(form.datapath).quantize(flat, axis=-1 if by_row else None, amax=amax)
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


def _by_row(amax: Amax) -> bool:
    return isinstance(amax[0] if isinstance(amax, tuple) else amax, Tensor)


def _codes(q: Quantized) -> Array:
    """Inputs of the unit: bit patterns, or integers minus their zero points."""
    codes = q.codes.long()
    if q.zero_points is not None:
        codes = codes - _per_element(q, q.zero_points.long())
    elif not isinstance(q.format.element, IntElement):
        codes = codes & (1 << q.format.element.bits) - 1
    return codes.numpy()


def _values(q: Quantized) -> Floats:
    """Values of the elements without scales, float64."""
    values = q.format.element.decode(q.codes).double()
    if q.zero_points is not None:
        values = values - _per_element(q, q.format.element.decode(q.zero_points).double())
    return values.numpy()


def _per_element(q: Quantized, shared: Tensor) -> Tensor:
    """Repeat one number per scale to one per element."""
    scaling = q.format.scaling
    if q.axis is None or scaling is None or scaling.block is None:
        return shared
    length = q.shape[q.axis]
    return shared.repeat_interleave(min(scaling.block, length), dim=q.axis).narrow(q.axis, 0, length)


def _unsigned(codes: Tensor, form: Format) -> Array:
    assert form.scaling is not None
    return (codes.long() & (1 << form.scaling.scale.bits) - 1).numpy()


def _padded(x: Array, pad: int, length: int = 0) -> Array:
    """`x` with zeros appended along its last axis: `pad` of them, or up to `length`."""
    pad = max(pad, length - x.shape[-1])
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, pad)])


def stepped(codes: Array, lanes: int) -> Array:
    """Codes [rows, K] as steps [steps, lanes, rows], padded with zeros."""
    rows, k = codes.shape
    return _padded(codes, -k % lanes).reshape(rows, -1, lanes).transpose(1, 2, 0)


def scale_steps(operand: OperandCodes, lanes: int) -> Array:
    """Scale codes of every step, [steps, scales per step, rows].

    A padded block has code 0, the smallest scale, so that it never determines an alignment.
    """
    assert operand.scale_codes is not None
    codes = operand.scale_codes
    if lanes < operand.block:
        codes = np.repeat(codes, operand.block // lanes, axis=1)
    return stepped(codes, max(1, lanes // operand.block))
