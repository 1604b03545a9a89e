"""DRAM and flash traffic of one operator on many accelerators (rules 3 to 6 and 8 of `schedule`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from codesign.hardware.arithmetic.operands import Stored
from codesign.hardware.schedule.footprint import Footprint, tensor_elements
from codesign.hardware.schedule.tiling import LEAST, Sizes, best_tiling
from codesign.hardware.units.coefficients import table
from codesign.workload.types import Operator

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Array = TypeVar("Array", Floats, npt.NDArray[np.bool_])


class Memory(NamedTuple):
    """The properties of an entry of a Machine that traffic depends on."""

    sram_bytes: float  # capacity
    weight: Stored  # in SRAM
    activation: Stored
    ratio: float  # by which weights are compressed in DRAM and flash
    dram_bytes: float  # capacity; infinite without flash, as all weights are then in DRAM or the design is rejected
    per_token: bool = False  # whether scales of the activation are taken from its data


@dataclass(frozen=True, eq=False)
class Kinds:
    """The distinct `Memory` values among the entries of a Machine, for operands in blocks along `Operator.runs`:
    read-only arrays [kinds] made by `kinds_of`.

    Hashed by identity, so that `traffic` can cache its results: `kinds_of` returns the same object for the same values.
    """

    weight_bytes: Floats  # per element, in SRAM
    input_bytes: Floats
    output_bytes: Floats
    stored_bytes: Floats  # per weight element in DRAM and flash
    activation_half: Floats  # bytes of half of the activation share
    tile: Floats  # bytes of the tile share
    resident: Floats  # fraction of weights and KV cache that stays on chip
    live_on_chip: Floats  # fraction of the live tensors that stays on chip
    in_dram: Floats  # fraction of the weights that DRAM holds
    per_token: npt.NDArray[np.bool_]  # whether scales of the input are taken from its data


@dataclass(frozen=True)
class Traffic:
    """Bytes of traffic of one pass, all calls: read-only arrays [kinds]."""

    dram: Floats  # infinite where no tile fits
    flash: Floats


@lru_cache(maxsize=4096)
def kinds_of(memories: tuple[Memory, ...], footprint: Footprint, runs: tuple[int, int, int]) -> Kinds:
    """The Kinds of `memories`, for an operator with the given runs of a network with the given footprint."""
    sram, ratio, dram = np.array([(m.sram_bytes, m.ratio, m.dram_bytes) for m in memories], dtype=np.float64).T
    weight = np.array([m.weight.bytes_per_element(runs[0]) for m in memories])
    inputs, outputs = (np.array([m.activation.bytes_per_element(run) for m in memories]) for run in runs[1:])
    stored = weight / ratio
    shares = table("system.yaml", "shares")
    resident = sram * shares["resident"].value / max(footprint.weights + footprint.cache, 1)
    live = sram * shares["live"].value / max(footprint.live, 1)
    room = np.maximum(dram - footprint.reserved_bytes, 0.0) / max(footprint.weights, 1)
    return Kinds(
        weight_bytes=_frozen(weight),
        input_bytes=_frozen(inputs),
        output_bytes=_frozen(outputs),
        stored_bytes=_frozen(stored),
        activation_half=_frozen(sram * (shares["activations"].value / 2)),
        tile=_frozen(sram * shares["tiles"].value),
        resident=_frozen(np.minimum(resident / weight, 1.0)),
        live_on_chip=_frozen(np.minimum(live / outputs, 1.0)),
        in_dram=_frozen(np.minimum(room / stored, 1.0)),
        per_token=_frozen(np.array([m.per_token for m in memories], bool)),
    )


@lru_cache(maxsize=65536)
def traffic(op: Operator, passes: int, kinds: Kinds) -> Traffic:
    """Traffic of an operator for all kinds; `passes`: how often its layer runs for one result."""
    half, away = kinds.activation_half, 1.0 - kinds.resident
    flash = np.zeros_like(half)
    if op.is_attention:
        fresh = (op.stationary_elements - op.kv_read_elements) * kinds.weight_bytes
        stationary = away * (op.kv_read_elements * kinds.weight_bytes) + _spilled(fresh, half)
        once = away * (op.kv_write_elements * kinds.weight_bytes)
    else:
        stationary = away * (op.stationary_elements * kinds.stored_bytes)
        once = kinds.resident * (op.weight_elements * kinds.stored_bytes / passes)
        flash = (1.0 - kinds.in_dram) * (stationary + once)
    streamed = _streamed(op, kinds, stationary) + once + flash  # data from flash is written to DRAM first
    total = streamed * op.calls + _of_norms(op, kinds) + _of_live(op, kinds) + _of_ranges(op, kinds)
    return Traffic(_frozen(total), _frozen(flash * op.calls))


def _streamed(op: Operator, kinds: Kinds, stationary: Floats) -> Floats:
    """Bytes of the best tiling, all products of one call."""
    inputs, outputs = tensor_elements(op)
    half = kinds.activation_half
    gemm = np.array([op.m * op.k, op.k * op.n, op.m * op.n], dtype=np.float64) * op.count
    spilled = np.where(_fused(op, kinds), 0.0, _spilled(inputs * kinds.input_bytes, half))
    # the write of the input, which is charged here instead of to its producer
    written = spilled if op.line_elements else 0.0
    read = spilled / gemm[0]  # an implicit GEMM stores less than m x k
    sizes = Sizes(
        input=read,
        weight=stationary / gemm[1],
        output=_spilled(0 if op.feeds_next else outputs * kinds.output_bytes, half) / gemm[2],
        input_tile=read,
        weight_tile=op.stationary_elements * kinds.weight_bytes / gemm[1],
        partial=np.full_like(half, partial_sum_bytes()),
        input_room=half,
        room=kinds.tile,
    )
    return np.asarray(best_tiling(op.m, op.n, op.k, sizes).total * op.count + written)


def _fused(op: Operator, kinds: Kinds) -> npt.NDArray[np.bool_]:
    """Whether the product is fused with its producer by line buffers: the tile share holds the weights of both, two
    lines fit half of the activation share, and no scale waits for the whole input."""
    weights = (op.stationary_elements + op.producer_weights) * kinds.weight_bytes
    lines = 2 * op.line_elements * kinds.input_bytes
    fits = (op.line_elements > 0) & (weights <= kinds.tile) & (lines <= kinds.activation_half)
    return np.asarray(fits & ~_waits(op, kinds))


def _waits(op: Operator, kinds: Kinds) -> npt.NDArray[np.bool_]:
    """Whether the scale of the input is taken from all of a sample before its first line can be quantized."""
    return kinds.per_token & (op.kind == "conv")


def _of_ranges(op: Operator, kinds: Kinds) -> Floats:
    """Bytes of an input that is read once more, as it does not fit, after its range is known."""
    size = _spilled(op.input_elements * kinds.input_bytes, kinds.activation_half)
    return np.where(_waits(op, kinds), op.calls * size, 0.0)


def _of_norms(op: Operator, kinds: Kinds) -> Floats:
    """Bytes of norms, which read and write tensors that do not fit once more. Attention scores stay on chip."""
    one = dict(op.vector).get("norm", 0) / op.calls * kinds.output_bytes
    return np.asarray(2 * op.calls * _spilled(one, kinds.activation_half))


def _of_live(op: Operator, kinds: Kinds) -> Floats:
    """Bytes of results that stay live across other products: what the live share does not hold is written and read
    back; a result that was spilled anyway is read once more."""
    size = op.live_out_elements * kinds.output_bytes
    fits = size / op.calls <= kinds.activation_half
    return np.where(fits, 2.0 * (1.0 - kinds.live_on_chip) * size, size)


def _spilled(size: Floats | int, room: Floats) -> Floats:
    """Bytes of a tensor that are spilled to DRAM: all of it, or none if it fits `room`."""
    return np.where(size <= room, 0.0, size)


def _frozen(values: Array) -> Array:
    """A read-only contiguous array, as cached results are shared."""
    frozen = np.ascontiguousarray(values)
    frozen.setflags(write=False)
    return frozen


def partial_sum_bytes() -> float:
    """Bytes of a partial sum."""
    return table("system.yaml", "accumulator")["partial_sum_bytes"].value


def least_sram_bytes(weight_bytes: float, input_bytes: float) -> float:
    """Bytes of SRAM that hold the smallest tiles, for operands of the given bytes per element."""
    shares = table("system.yaml", "shares")
    m, n, k = LEAST
    inputs = 2 * m * k * input_bytes / (shares["activations"].value / 2)
    return max(inputs, (2 * n * k * weight_bytes + m * n * partial_sum_bytes()) / shares["tiles"].value)
