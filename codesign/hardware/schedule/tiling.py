"""Tiles of a matrix product that move the fewest bytes between DRAM and an SRAM of given size.

[M, K] x [K, N] is cut into tiles of Tm x Tn x Tk, whose loops run in any order. An operand is fetched again whenever
a loop inside of those that do not index it moves it on; a result tile that another one displaces before its sum is
complete leaves as partial sums and comes back. Operand tiles are held twice, so that the next one arrives while this
one is in use: inputs in one part of the SRAM, weights with the sums under way in another. An operand that fits whole
may also be held whole, once. With the innermost loop over K (outputs stay), N (inputs stay) or M (weights stay) the
other two orders move the same, and one tile size follows from another and the capacities: what is searched is one
size, over every value that makes a difference, and the result is the exact minimum over all tilings
(tests/hardware/schedule/test_tiling.py walks them all).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

ORDERS = ("outputs stay", "inputs stay", "weights stay")
LEAST = (4, 4, 16)  # M, N and K of the smallest tile worth fetching: shorter bursts waste the DRAM


@dataclass(frozen=True)
class Sizes:
    """float64 [E] each. Bytes an element of input, weight and output that moving it costs (0: it is on chip anyway), of
    a tile in SRAM (input_tile 0: no copy is made) and of a sum under way; bytes of both parts of the SRAM.
    """

    input: Floats
    weight: Floats
    output: Floats
    input_tile: Floats
    weight_tile: Floats
    partial: Floats
    input_room: Floats
    room: Floats  # of weights and sums


@dataclass(frozen=True)
class Tiling:
    """For E capacities: bytes moved of each tensor in one product, and the tiles. Infinite bytes where nothing fits.

    order: index in ORDERS; tiles: int64 [E, 3] of M, N, K; held: which operands are held whole, 1 for inputs
    plus 2 for weights.
    """

    input_bytes: Floats
    weight_bytes: Floats
    output_bytes: Floats
    order: Ints
    tiles: Ints
    held: Ints

    @property
    def total(self) -> Floats:
        return self.input_bytes + self.weight_bytes + self.output_bytes


def best_tiling(m: int, n: int, k: int, sizes: Sizes) -> Tiling:
    """The tiling of [m, k] x [k, n] that moves least."""
    found = [_tiled(m, n, k, sizes, held) for held in range(4)]
    best = np.stack([tiling.total for tiling in found]).argmin(axis=0)
    columns = np.arange(len(best))

    return Tiling(
        **{
            field.name: np.stack([getattr(tiling, field.name) for tiling in found])[best, columns]
            for field in fields(Tiling)
        }
    )


def _tiled(m: int, n: int, k: int, sizes: Sizes, held: int) -> Tiling:
    """The best loops where some operands are held whole; infinite where those do not fit."""
    inputs, weights = m * k * sizes.input_tile, k * n * sizes.weight_tile
    possible = np.ones(len(sizes.room), bool)
    looped = sizes
    if held & 1:
        possible &= inputs <= sizes.input_room
        looped = replace(looped, input=0 * inputs, input_tile=0 * inputs)
    if held & 2:
        possible &= weights <= sizes.room
        looped = replace(looped, weight=0 * weights, weight_tile=0 * weights, room=sizes.room - weights)
    least = tuple(min(size, tile) for size, tile in zip((m, n, k), LEAST, strict=True))
    candidates = [search(m, n, k, looped, least) for search in (_outputs_stay, _inputs_stay, _weights_stay)]
    totals = np.stack([found[0] for found in candidates])
    order = totals.argmin(axis=0)
    tiles = np.take_along_axis(np.stack([found[1] for found in candidates]), order[None, :, None], axis=0)[0]
    possible &= np.isfinite(totals.min(axis=0))
    moved = list(_moved(m, n, k, looped, tiles, order))
    moved[0] += m * k * (sizes.input - looped.input)
    moved[1] += k * n * (sizes.weight - looped.weight)
    total_input, weight, output = (np.where(possible, part, np.inf) for part in moved)
    return Tiling(total_input, weight, output, order, tiles, np.full_like(order, held))


def _moved(m: int, n: int, k: int, sizes: Sizes, tiles: Ints, order: Ints) -> tuple[Floats, Floats, Floats]:
    """Bytes of input, weight and output."""
    trips = [_trips(size, tiles[:, axis]) for axis, size in enumerate((m, n, k))]
    again = np.where(order == 1, 1.0, trips[1]), np.where(order == 2, 1.0, trips[0])
    spills = np.where(order == 0, 0.0, trips[2] - 1)
    return (
        m * k * sizes.input * again[0],
        k * n * sizes.weight * again[1],
        m * n * (sizes.output + 2 * sizes.partial * spills),
    )


def _trips(size: int, tile: Ints) -> Floats:
    return np.ceil(size / np.maximum(tile, 1)).astype(np.float64)


@lru_cache(maxsize=4096)
def tile_sizes(size: int, least: int) -> tuple[int, ...]:
    """The smallest tile for every number of tiles that `size` can be cut in, none below `least`, largest first."""
    found, count = [], 1
    while True:
        tile = max(-(-size // count), least)
        found.append(tile)
        if tile == least:
            return tuple(found)
        count = -(-size // (tile - 1))


def _outputs_stay(m: int, n: int, k: int, sizes: Sizes, least: tuple[int, ...]) -> tuple[Floats, Ints]:
    """Tk as small as it may be; for every Tm the largest Tn."""
    tk = least[2]
    tm = np.array(tile_sizes(m, least[0]), dtype=np.float64)[:, None]
    tn = _largest(sizes.room, 2 * tk * sizes.weight_tile + tm * sizes.partial, n)
    moved = m * k * sizes.input * np.ceil(n / np.maximum(tn, 1)) + k * n * sizes.weight * np.ceil(m / tm)
    fits = (tn >= least[1]) & (2 * tm * tk * sizes.input_tile <= sizes.input_room)
    return _best(moved + m * n * sizes.output, fits, (tm, tn, tk))


def _inputs_stay(m: int, n: int, k: int, sizes: Sizes, least: tuple[int, ...]) -> tuple[Floats, Ints]:
    """Tn as small as it may be; for every Tm the largest Tk."""
    tm, tn = np.array(tile_sizes(m, least[0]), dtype=np.float64)[:, None], least[1]
    tk, spilled = _contraction(m, n, k, sizes, tm, tn)
    moved = m * k * sizes.input + k * n * sizes.weight * np.ceil(m / tm) + spilled
    return _best(moved, tk >= least[2], (tm, tn, tk))


def _weights_stay(m: int, n: int, k: int, sizes: Sizes, least: tuple[int, ...]) -> tuple[Floats, Ints]:
    """Tm as small as it may be; for every Tn the largest Tk."""
    tm, tn = least[0], np.array(tile_sizes(n, least[1]), dtype=np.float64)[:, None]
    tk, spilled = _contraction(m, n, k, sizes, tm, tn)
    moved = m * k * sizes.input * np.ceil(n / tn) + k * n * sizes.weight + spilled
    return _best(moved, tk >= least[2], (tm, tn, tk))


def _contraction(m: int, n: int, k: int, sizes: Sizes, tm: Floats | int, tn: Floats | int) -> tuple[Floats, Floats]:
    """The largest Tk, and the bytes of outputs and partial sums."""
    own = _largest(sizes.input_room, 2 * tm * sizes.input_tile, k)
    tk = np.minimum(own, _largest(sizes.room - tm * tn * sizes.partial, 2 * tn * sizes.weight_tile, k))
    return tk, m * n * (sizes.output + 2 * sizes.partial * (np.ceil(k / np.maximum(tk, 1)) - 1))


def _largest(room: Floats, each: Floats, most: int) -> Floats:
    """How many of `each` fit in `room`, at most `most`; -1 where none can."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(each > 0, np.floor(room / each), most)
    return np.where(room >= 0, np.minimum(found, most), -1)


def _best(moved: Floats, fits: npt.NDArray[np.bool_], tiles: tuple[Floats | int, ...]) -> tuple[Floats, Ints]:
    """Along axis 0: the least that fits and its tiles."""
    moved = np.where(fits, moved, np.inf)
    at = moved.argmin(axis=0)
    columns = np.arange(moved.shape[1])
    chosen = [np.broadcast_to(tile, moved.shape)[at, columns] for tile in tiles]
    return moved[at, columns], np.maximum(np.stack(chosen, axis=1), 0).astype(np.int64)
