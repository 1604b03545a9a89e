"""Test vectors of requantizers: FP32 numbers, and what the quantizers of `codesign.formats` make of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from codesign.formats import get_format
from codesign.formats.elements import FP32
from codesign.hardware.rtl.emit.requantize import BuiltRequantizer
from codesign.hardware.rtl.verify.bench import Trace, to_bits
from codesign.hardware.rtl.verify.twin import Array

SMALLEST = 2.0**-126  # subnormal inputs are read as zero


@dataclass(frozen=True)
class RequantizeCheck:
    """One output of a requantizer called `module` on numbers [steps, lanes], against the quantizer.

    range: of the whole tensor, for the kinds `given` and `range` and scales of two levels; by default what it is.
    """

    built: BuiltRequantizer
    numbers: npt.NDArray[np.float32]
    output: str = "code"
    range: float | None = None
    module: str = "requantize"

    def trace(self) -> Trace:
        unit, x = self.built.unit, self.numbers
        steps = len(x)
        words = x.view(np.uint32).astype(np.int64)
        columns, ports = [to_bits(words, 32, 32 * unit.lanes)], [("x", 32 * unit.lanes)]
        amax = np.float32(np.abs(x).max() if self.range is None else self.range)
        scale, code, tensor = self._quantized(float(amax))
        if tensor is not None:
            ports.append(("tensor", 32))
            columns.append(to_bits(np.full((steps, 1), tensor), 32, 32))
        if unit.kind == "given":
            ports.append(("scale", 32))
            columns.append(to_bits(np.repeat(scale[:1], steps)[:, None], 32, 32))
        if unit.kind == "range":
            ports += [("range", 31), ("first", 1)]
            columns.append(to_bits(np.full((steps, 1), int(amax.view(np.uint32))), 31, 31))
            columns.append((np.arange(steps)[:, None] == 0).astype(np.uint8))
        latency, bits = self.built.latency, unit.lanes * unit.form.element.bits
        if self.output == "code":
            expected = to_bits(code, unit.form.element.bits, bits)
        elif self.output == "scale":
            bits = 8 if unit.kind == "block" else 32
            bits = unit.form.scaling.scale.bits if unit.form.scaling is not None else bits
            expected = to_bits(np.broadcast_to(scale, (steps,))[:, None], bits, bits)
        else:
            bits = 31
            largest = np.maximum.accumulate(np.abs(x).max(axis=1)).view(np.uint32).astype(np.int64)
            expected = to_bits(largest[:, None], bits, bits)
        return Trace(self.module, tuple(ports), np.concatenate(columns, axis=1), self.output, bits, expected, latency)

    def _quantized(self, amax: float) -> tuple[Array, Array, int | None]:
        """(scale codes, element codes [steps, lanes], bits of the tensor's scale) by the quantizer."""
        unit, form = self.built.unit, self.built.unit.form
        x = torch.from_numpy(self.numbers)
        if unit.kind == "block":
            two = form.scaling is not None and form.scaling.tensor_scale is not None
            q = form.quantize(x, axis=-1, amax=amax if two else None)
        elif unit.kind == "cast":
            q = form.quantize(x)
        else:
            q = get_format(form.datapath).quantize(x, amax=amax)
        mask = (1 << form.element.bits) - 1
        codes = q.codes.long().numpy() & mask
        if q.scales is None:
            return np.zeros(1, np.int64), codes, None
        assert form.scaling is not None
        stored = form.scaling.scale
        found = q.scale_codes().long().numpy() if stored != FP32 else q.scales.float().view(torch.int32).long().numpy()
        tensor = None if q.tensor_scale is None else int(q.tensor_scale.float().view(torch.int32))
        return found.reshape(-1) & (1 << stored.bits) - 1, codes, tensor


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
