"""Bytes that one operator moves from and to DRAM and flash, on many accelerators (rules 3-5 and 8 of `schedule`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from codesign.hardware.schedule.footprint import Footprint, tensor_elements
from codesign.hardware.schedule.tiling import LEAST, Sizes, best_tiling
from codesign.hardware.units.coefficients import table
from codesign.workload.types import Operator

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Memory(NamedTuple):
    """What traffic depends on of one entry of a Machine: bytes of SRAM, bytes an element of a weight and an input in
    SRAM and of a stored weight, and bytes of the DRAM before a flash.

    dram_bytes is infinite without a flash: then all weights are in DRAM, or the design is refused.
    """

    sram_bytes: float
    weight_bytes: float
    input_bytes: float
    stored_bytes: float
    dram_bytes: float


@dataclass(frozen=True, eq=False)
class Kinds:
    """The distinct memories and operand widths among the entries of a Machine, as `kinds_of` makes them, [kinds].

    Arrays are read-only, and the same memories give the same object, by which `traffic` knows it again. Bytes an
    element of both operands in SRAM, and of a stored weight; bytes of half the activations' share and of that of
    tiles; fractions of weights and KV cache that stay on chip, of waiting tensors that do, and of weights that DRAM
    holds.
    """

    weight_bytes: Floats
    input_bytes: Floats
    stored_bytes: Floats
    activation_half: Floats
    tile: Floats
    resident: Floats
    kept: Floats
    in_dram: Floats


@dataclass(frozen=True)
class Traffic:
    """Bytes of one pass, all calls, read-only [kinds]: of DRAM (infinite where no tile fits) and of flash behind it."""

    dram: Floats
    flash: Floats


@lru_cache(maxsize=1024)
def kinds_of(memories: tuple[Memory, ...], footprint: Footprint) -> Kinds:
    """Shares of each distinct memory for one network."""
    sram, weight, activation, stored, dram = np.array(memories, dtype=np.float64).T
    shares = table("system.yaml", "shares")
    resident = sram * shares["resident"].value / max(footprint.weights + footprint.cache, 1)
    waiting = sram * shares["waiting"].value / max(footprint.waiting, 1)
    room = np.maximum(dram - footprint.reserved_bytes, 0.0) / max(footprint.weights, 1)
    return Kinds(
        weight_bytes=_frozen(weight),
        input_bytes=_frozen(activation),
        stored_bytes=_frozen(stored),
        activation_half=_frozen(sram * (shares["activations"].value / 2)),
        tile=_frozen(sram * shares["tiles"].value),
        resident=_frozen(np.minimum(resident / weight, 1.0)),
        kept=_frozen(np.minimum(waiting / activation, 1.0)),
        in_dram=_frozen(np.minimum(room / stored, 1.0)),
    )


@lru_cache(maxsize=65536)
def traffic(op: Operator, passes: int, kinds: Kinds) -> Traffic:
    """Of every kind; `passes` is how often the operator's layer runs for one result."""
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
    streamed = _streamed(op, kinds, stationary) + once + flash  # what comes from flash is written to DRAM first
    total = streamed * op.calls + _of_norms(op, kinds) + _of_waiting(op, kinds)
    return Traffic(_frozen(total), _frozen(flash * op.calls))


def _streamed(op: Operator, kinds: Kinds, stationary: Floats) -> Floats:
    """Bytes of the best tiling of all products of one call."""
    inputs, outputs = tensor_elements(op)
    half = kinds.activation_half
    gemm = np.array([op.m * op.k, op.k * op.n, op.m * op.n], dtype=np.float64) * op.count
    spilled = np.where(_fused(op, kinds), 0.0, _spilled(inputs * kinds.input_bytes, half))
    handed = spilled if op.feed_band else 0.0  # what the product before wrote, which is not charged for it
    read = spilled / gemm[0]  # an implicit GEMM stores less than m x k
    sizes = Sizes(
        input=read,
        weight=stationary / gemm[1],
        output=_spilled(0 if op.handed_on else outputs * kinds.input_bytes, half) / gemm[2],
        input_tile=read,
        weight_tile=op.stationary_elements * kinds.weight_bytes / gemm[1],
        partial=np.full_like(half, partial_sum_bytes()),
        input_room=half,
        room=kinds.tile,
    )
    return np.asarray(best_tiling(op.m, op.n, op.k, sizes).total * op.count + handed)


def _fused(op: Operator, kinds: Kinds) -> npt.NDArray[np.bool_]:
    """Whether the product before hands its result over band by band: the weights of both are held whole, and two
    bands fit where the input would be."""
    weights = (op.stationary_elements + op.feed_weights) * kinds.weight_bytes
    bands = 2 * op.feed_band * kinds.input_bytes
    return np.asarray((op.feed_band > 0) & (weights <= kinds.tile) & (bands <= kinds.activation_half))


def _of_norms(op: Operator, kinds: Kinds) -> Floats:
    """Norms over tensors that do not fit read and write them once more. Scores stay on chip."""
    one = dict(op.vector).get("norm", 0) / op.calls * kinds.input_bytes
    return np.asarray(2 * op.calls * _spilled(one, kinds.activation_half))


def _of_waiting(op: Operator, kinds: Kinds) -> Floats:
    """Results that wait for a later product: what their share does not hold goes out and comes back; one that went
    out anyway, since it did not fit, is read once more."""
    size = op.kept_elements * kinds.input_bytes
    fits = size / op.calls <= kinds.activation_half
    return np.where(fits, 2.0 * (1.0 - kinds.kept) * size, size)


def _spilled(size: Floats | int, room: Floats) -> Floats:
    """Bytes of a tensor that go through DRAM: all of it, or none where it fits its room."""
    return np.where(size <= room, 0.0, size)


def _frozen(values: Floats) -> Floats:
    """Without write access: a cached result is everyone's."""
    frozen = np.ascontiguousarray(values)
    frozen.setflags(write=False)
    return frozen


def partial_sum_bytes() -> float:
    """Bytes of a sum under way."""
    return table("system.yaml", "accumulator")["partial_sum_bytes"].value


def least_sram_bytes(weight_bytes: float, input_bytes: float) -> float:
    """SRAM that holds the smallest tiles of operands of so many bytes an element."""
    shares = table("system.yaml", "shares")
    m, n, k = LEAST
    inputs = 2 * m * k * input_bytes / (shares["activations"].value / 2)
    return max(inputs, (2 * n * k * weight_bytes + m * n * partial_sum_bytes()) / shares["tiles"].value)
