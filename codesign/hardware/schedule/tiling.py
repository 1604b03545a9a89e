"""Loop tiling of a matrix product with the least traffic between DRAM and an SRAM of given size.

[M, K] x [K, N] is divided into tiles of Tm x Tn x Tk, whose loops may run in any order. An operand tile is fetched
again when a loop that does not index it encloses one that does; an output tile that is evicted before its sum is
complete is written and read back as partial sums. Operand tiles are double-buffered: inputs in one part of the SRAM,
weights with the partial sums in another. An operand that fits as a whole may instead be held there once.

Exact minimum over all tilings. With the innermost loop over K (output-stationary), N (input-stationary) or M
(weight-stationary), the order of the outer loops does not matter, and one tile size follows from another and the
capacities; so a search over one tile size suffices, over the O(sqrt(size)) values with distinct numbers of tiles.
tests/hardware/schedule/test_tiling.py compares it with exhaustive search.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

ORDERS = ("output-stationary", "input-stationary", "weight-stationary")
LEAST = (4, 4, 16)  # M, N and K of the smallest tile: shorter bursts use DRAM inefficiently


@dataclass(frozen=True)
class Sizes:
    """Sizes per element and capacities, float64 [E] each."""

    # bytes of DRAM traffic per element; 0 if the tensor is on chip
    input: Floats
    weight: Floats
    output: Floats
    # bytes in SRAM per element of a tile
    input_tile: Floats  # 0 if the input is already in SRAM
    weight_tile: Floats
    partial: Floats  # of a partial sum
    # capacity in bytes
    input_room: Floats  # for input tiles
    room: Floats  # for weight tiles and partial sums


@dataclass(frozen=True)
class Tiling:
    """Traffic of one product and its tiling, for E entries."""

    input_bytes: Floats  # traffic [E]; infinite where no tiling fits
    weight_bytes: Floats
    output_bytes: Floats
    order: Ints  # [E], index in ORDERS
    tiles: Ints  # int64 [E, 3]: Tm, Tn, Tk
    held: Ints  # [E], operands held as a whole: 1 for inputs, plus 2 for weights

    @property
    def total(self) -> Floats:
        return self.input_bytes + self.weight_bytes + self.output_bytes


def best_tiling(m: int, n: int, k: int, sizes: Sizes) -> Tiling:
    """The tiling of [m, k] x [k, n] with the least traffic."""
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
    """The best tiling with the operands in bit mask `held` held as a whole; infinite where they do not fit."""
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
    searches = (_output_stationary, _input_stationary, _weight_stationary)
    candidates = [search(m, n, k, looped, least) for search in searches]
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
    """(input, weight, output) bytes of traffic."""
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
    """The smallest tile for each number of tiles that `size` can be divided into, at least `least`, decreasing."""
    found, count = [], 1
    while True:
        tile = max(-(-size // count), least)
        found.append(tile)
        if tile == least:
            return tuple(found)
        count = -(-size // (tile - 1))


def _output_stationary(m: int, n: int, k: int, sizes: Sizes, least: tuple[int, ...]) -> tuple[Floats, Ints]:
    """The smallest Tk; for every Tm the largest Tn."""
    tk = least[2]
    tm = np.array(tile_sizes(m, least[0]), dtype=np.float64)[:, None]
    tn = _largest(sizes.room, 2 * tk * sizes.weight_tile + tm * sizes.partial, n)
    moved = m * k * sizes.input * np.ceil(n / np.maximum(tn, 1)) + k * n * sizes.weight * np.ceil(m / tm)
    fits = (tn >= least[1]) & (2 * tm * tk * sizes.input_tile <= sizes.input_room)
    return _best(moved + m * n * sizes.output, fits, (tm, tn, tk))


def _input_stationary(m: int, n: int, k: int, sizes: Sizes, least: tuple[int, ...]) -> tuple[Floats, Ints]:
    """The smallest Tn; for every Tm the largest Tk."""
    tm, tn = np.array(tile_sizes(m, least[0]), dtype=np.float64)[:, None], least[1]
    tk, spilled = _contraction(m, n, k, sizes, tm, tn)
    moved = m * k * sizes.input + k * n * sizes.weight * np.ceil(m / tm) + spilled
    return _best(moved, tk >= least[2], (tm, tn, tk))


def _weight_stationary(m: int, n: int, k: int, sizes: Sizes, least: tuple[int, ...]) -> tuple[Floats, Ints]:
    """The smallest Tm; for every Tn the largest Tk."""
    tm, tn = least[0], np.array(tile_sizes(n, least[1]), dtype=np.float64)[:, None]
    tk, spilled = _contraction(m, n, k, sizes, tm, tn)
    moved = m * k * sizes.input * np.ceil(n / tn) + k * n * sizes.weight + spilled
    return _best(moved, tk >= least[2], (tm, tn, tk))


def _contraction(m: int, n: int, k: int, sizes: Sizes, tm: Floats | int, tn: Floats | int) -> tuple[Floats, Floats]:
    """(the largest Tk, bytes of traffic of outputs and partial sums)."""
    own = _largest(sizes.input_room, 2 * tm * sizes.input_tile, k)
    tk = np.minimum(own, _largest(sizes.room - tm * tn * sizes.partial, 2 * tn * sizes.weight_tile, k))
    return tk, m * n * (sizes.output + 2 * sizes.partial * (np.ceil(k / np.maximum(tk, 1)) - 1))


def _largest(room: Floats, each: Floats, most: int) -> Floats:
    """How many items of `each` bytes fit in `room`, at most `most`; -1 if `room` is negative."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(each > 0, np.floor(room / each), most)
    return np.where(room >= 0, np.minimum(found, most), -1)


def _best(moved: Floats, fits: npt.NDArray[np.bool_], tiles: tuple[Floats | int, ...]) -> tuple[Floats, Ints]:
    """(least traffic, its tiles) over the candidates along axis 0 that fit."""
    moved = np.where(fits, moved, np.inf)
    at = moved.argmin(axis=0)
    columns = np.arange(moved.shape[1])
    chosen = [np.broadcast_to(tile, moved.shape)[at, columns] for tile in tiles]
    return moved[at, columns], np.maximum(np.stack(chosen, axis=1), 0).astype(np.int64)
