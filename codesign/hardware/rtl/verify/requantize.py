"""Test vectors of requantizers: FP32 numbers, and what the quantizers of `codesign.formats` make of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from codesign.formats import get_format
from codesign.formats.elements import FP32
from codesign.formats.format import Quantized
from codesign.hardware.rtl.emit.requantize import BuiltRequantizer
from codesign.hardware.rtl.verify.bench import Trace, to_bits
from codesign.hardware.rtl.verify.twin import Array

SMALLEST = 2.0**-126  # subnormal inputs are read as zero


TOKEN = 16  # steps of a token
_NUMBERS, _LEAST_STEPS = 4000, 64  # of `requantize_checks`


@dataclass(frozen=True)
class RequantizeCheck:
    """One output of a requantizer on numbers [steps, lanes], against the quantizer.

    range: of the whole tensor, for the kind `given` and scales of two levels, or of every token of `TOKEN` steps, for
    the kind `range`; by default what it is.
    """

    built: BuiltRequantizer
    numbers: npt.NDArray[np.float32]
    output: str = "code"
    range: float | None = None

    def trace(self) -> Trace:
        unit, lead, steps = self.built.unit, self.built.lead, len(self.numbers)
        x = np.pad(self.numbers, ((lead, 0), (0, 0)))
        columns, ports = [to_bits(_words(x), 32, 32 * unit.lanes)], [("x", 32 * unit.lanes)]
        ranges = self._ranges()
        scale, code, tensor = self._quantized(ranges)
        if tensor is not None:
            ports.append(("tensor", 32))
            columns.append(to_bits(np.full((steps, 1), tensor), 32, 32))
        if unit.kind == "given":
            ports.append(("scale", 32))
            columns.append(to_bits(np.repeat(scale[:1], steps)[:, None], 32, 32))
        first = np.arange(steps) % TOKEN == 0
        if unit.kind == "range":  # that of a number comes `lead` lines before it
            ports += [("range", 31), ("first", 1)]
            columns.append(to_bits(np.pad(_words(ranges), (0, lead), "edge")[:, None], 31, 31))
            columns.append(np.pad(first, (lead, 0))[:, None].astype(np.uint8))
        bits = unit.lanes * unit.form.element.bits
        if self.output == "code":
            expected = to_bits(code, unit.form.element.bits, bits)
        elif self.output == "scale":
            bits = 32 if unit.form.scaling is None else unit.form.scaling.scale.bits
            expected = to_bits(np.broadcast_to(scale, (steps,))[:, None], bits, bits)
        else:
            bits = 31
            magnitudes = np.abs(self.numbers).max(axis=1)
            begins = np.flatnonzero(first)[1:]
            largest = np.concatenate([np.maximum.accumulate(part) for part in np.split(magnitudes, begins)])
            expected = to_bits(_words(largest)[:, None], bits, bits)
        with_range = self.output == "scale" and unit.kind == "range"
        around = (0, lead) if with_range else (lead, 0)  # lines that are not compared
        return Trace(
            self.built.name,
            tuple(ports),
            np.concatenate(columns, axis=1),
            self.output,
            bits,
            np.pad(expected, (around, (0, 0))),
            self.built.latency[self.output],
            np.pad(np.ones(steps, np.bool_), around),
        )

    def _ranges(self) -> npt.NDArray[np.float32]:
        """The range of each step, [steps]."""
        magnitudes = np.abs(self.numbers).max(axis=1)
        if self.range is not None:
            return np.full(len(magnitudes), self.range, np.float32)
        if self.built.unit.kind != "range":
            return np.full(len(magnitudes), magnitudes.max(), np.float32)
        starts = np.arange(0, len(magnitudes), TOKEN)
        return np.repeat(np.maximum.reduceat(magnitudes, starts), TOKEN)[: len(magnitudes)]

    def _quantized(self, ranges: npt.NDArray[np.float32]) -> tuple[Array, Array, int | None]:
        """(scale codes, element codes [steps, lanes], bits of the tensor's scale) by the quantizer."""
        unit, form = self.built.unit, self.built.unit.form
        x, scaling = torch.from_numpy(self.numbers), form.scaling
        if scaling is None:
            return np.zeros(1, np.int64), _codes(form.quantize(x)), None
        if unit.kind == "block":
            whole = float(ranges[0]) if scaling.tensor_scale is not None else None
            found = form.quantize(x, axis=-1, amax=whole)
            scales = _of_scales(found)
            tensor = None if found.tensor_scale is None else int(found.tensor_scale.float().view(torch.int32))
            return scales.reshape(-1) & (1 << scaling.scale.bits) - 1, _codes(found), tensor
        plain = get_format(form.datapath)
        length = TOKEN if unit.kind == "range" else len(ranges)
        starts = range(0, len(ranges), length)
        tokens = [plain.quantize(x[at : at + length], amax=float(ranges[at])) for at in starts]
        scales = np.repeat(np.array([int(_of_scales(token)) for token in tokens]), length)[: len(ranges)]
        return scales, np.concatenate([_codes(token) for token in tokens]), None


def requantize_checks(built: BuiltRequantizer) -> list[RequantizeCheck]:
    """All outputs of a requantizer on random numbers."""
    drawn = numbers(built.unit.lanes, max(_LEAST_STEPS, _NUMBERS // built.unit.lanes))
    return [RequantizeCheck(built, drawn, output) for output in built.latency]


def _codes(found: Quantized) -> Array:
    codes: Array = found.codes.long().numpy() & (1 << found.format.element.bits) - 1
    return codes


def _of_scales(found: Quantized) -> Array:
    """The codes of the scales, of FP32 its bits."""
    assert found.scales is not None
    assert found.format.scaling is not None
    single = found.format.scaling.scale == FP32
    codes: Array = (found.scales.float().view(torch.int32).long() if single else found.scale_codes().long()).numpy()
    return codes


def _words(x: npt.NDArray[np.float32]) -> Array:
    return x.view(np.uint32).astype(np.int64)


def numbers(unit_lanes: int, steps: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Normal FP32 numbers [steps, lanes]: of one spread, of every exponent, of few bits (ties), zeros, and groups of
    zeros."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((steps, unit_lanes)) * np.exp(2 * rng.standard_normal((steps, 1)))
    kind = rng.integers(0, 8, (steps, 1))
    wide = np.ldexp(1 + rng.random((steps, unit_lanes)), rng.integers(-126, 127, (steps, unit_lanes)))
    ties = rng.integers(-512, 513, (steps, unit_lanes)) * 2.0 ** rng.integers(-12, 3, (steps, 1))
    found = np.where(kind == 0, wide * rng.choice([-1, 1], x.shape), np.where(kind <= 3, ties, x))
    found = np.where((kind == 7) & (rng.random(x.shape) < 0.5), 0.0, found)
    found[rng.random(steps) < 0.05] = 0.0
    single = found.astype(np.float32)
    single[np.abs(single) < SMALLEST] = 0.0
    return single
