"""The chosen tiling against all tilings, loop by loop."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import pytest

from codesign.hardware.schedule import tiling
from codesign.hardware.schedule.tiling import ORDERS, Sizes, best_tiling, tile_sizes

SHAPES = [(1, 1, 1), (7, 5, 9), (8, 8, 8), (1, 12, 15), (12, 1, 15), (16, 9, 1), (9, 10, 7)]
BYTES = [(1.0, 1.0, 1.0, 4.0), (2.0, 0.5, 2.0, 4.0), (1.0, 1.0, 0.0, 4.0), (0.0, 1.0, 1.0, 4.0), (1.0, 0.53, 2.0, 2.0)]


def sizes(data: tuple[float, float, float, float], rooms: list[tuple[float, float]]) -> Sizes:
    a, b, c, partial = (np.full(len(rooms), value) for value in data)
    own, room = np.array(rooms).T
    return Sizes(a, b, c, a, b, partial, own, room)


def simulated(
    shape: tuple[int, int, int], tile: tuple[int, int, int], order: str, data: tuple[float, ...], whole: str = ""
) -> float:
    """Bytes that a walk through the loops moves, holding one tile of each tensor; those of `whole` from the start."""
    trips = {axis: math.ceil(size / part) for axis, size, part in zip("mnk", shape, tile, strict=True)}
    lengths = {
        axis: [min(part, size - i * part) for i in range(trips[axis])]
        for axis, size, part in zip("mnk", shape, tile, strict=True)
    }
    a, b, c, partial = data
    held: dict[str, tuple[int, int] | None] = {"a": None, "b": None, "c": None}
    done: dict[tuple[int, int], int] = {}
    m, n, k = shape
    total = ("a" in whole) * m * k * a + ("b" in whole) * k * n * b
    for step in itertools.product(*(range(trips[axis]) for axis in order)):
        at = dict(zip(order, step, strict=True))
        area = {axis: lengths[axis][at[axis]] for axis in "mnk"}
        for name, axes, cost in (("a", "mk", a), ("b", "kn", b)):
            wanted = (at[axes[0]], at[axes[1]])
            if name not in whole and held[name] != wanted:
                total += area[axes[0]] * area[axes[1]] * cost
                held[name] = wanted
        wanted = (at["m"], at["n"])
        if held["c"] != wanted:
            before = held["c"]
            if before is not None and done[before] < trips["k"]:
                total += lengths["m"][before[0]] * lengths["n"][before[1]] * partial
            if done.get(wanted):
                total += area["m"] * area["n"] * partial
            held["c"] = wanted
        done[wanted] = done.get(wanted, 0) + 1
        if done[wanted] == trips["k"]:
            total += area["m"] * area["n"] * c
    return total


@functools.cache
def least_moved(shape: tuple[int, int, int], tile: tuple[int, int, int], data: tuple[float, ...], whole: str) -> float:
    """Bytes in the best order of the loops."""
    return min(simulated(shape, tile, "".join(order), data, whole) for order in itertools.permutations("mnk"))


def brute_force(shape: tuple[int, int, int], data: tuple[float, float, float, float], own: float, room: float) -> float:
    a, b, _, partial = data
    m, n, k = shape
    best = math.inf
    for tile in itertools.product(*(sorted({math.ceil(s / i) for i in range(1, s + 1)}) for s in shape)):
        tm, tn, tk = tile
        for whole in ("", "a", "b", "ab"):
            inputs = m * k * a if "a" in whole else 2 * tm * tk * a
            weights = k * n * b if "b" in whole else 2 * tk * tn * b
            if inputs <= own and weights + tm * tn * partial <= room:
                best = min(best, least_moved(shape, tile, data, whole))
    return best


@pytest.fixture
def single_elements(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of any size."""
    monkeypatch.setattr(tiling, "LEAST", (1, 1, 1))


@pytest.mark.usefixtures("single_elements")
@pytest.mark.parametrize("data", BYTES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_no_tiling_in_any_order_moves_less(
    shape: tuple[int, int, int], data: tuple[float, float, float, float]
) -> None:
    rooms = [(1.0, 30.0), (2.0, 6.0), (20.0, 9.0), (8.0, 40.0), (64.0, 150.0), (9.0, 900.0), (3000.0, 3000.0)]
    found = best_tiling(*shape, sizes(data, rooms))
    for (own, room), total in zip(rooms, found.total, strict=True):
        assert total == pytest.approx(brute_force(shape, data, own, room))


@pytest.mark.usefixtures("single_elements")
def test_the_tiles_fit_and_move_what_is_said() -> None:
    data, shape = (1.0, 0.5, 2.0, 4.0), (13, 17, 11)
    rooms = [(20.0, 40.0), (30.0, 90.0), (30.0, 160.0), (150.0, 90.0), (300.0, 300.0)]
    found = best_tiling(*shape, sizes(data, rooms))
    innermost = {"output-stationary": "mnk", "input-stationary": "mkn", "weight-stationary": "nkm"}
    for i, (own, room) in enumerate(rooms):
        tm, tn, tk = (int(t) for t in found.tiles[i])
        whole = ("", "a", "b", "ab")[found.held[i]]
        m, n, k = shape
        assert (m * k if "a" in whole else 2 * tm * tk) * data[0] <= own
        assert (k * n if "b" in whole else 2 * tk * tn) * data[1] + tm * tn * data[3] <= room
        walked = simulated(shape, (tm, tn, tk), innermost[ORDERS[found.order[i]]], data, whole)
        assert walked == pytest.approx(found.total[i])


def test_everything_is_moved_at_least_once_and_no_more_where_it_fits() -> None:
    rooms = [(size / 2, size / 2) for size in (2e4, 1e5, 1e6, 1e9)]
    found = best_tiling(512, 300, 700, sizes((1.0, 1.0, 1.0, 4.0), rooms))
    compulsory = 512 * 700 + 700 * 300 + 512 * 300
    assert (found.total >= compulsory).all()
    assert (np.diff(found.total) <= 0).all()
    assert found.total[-1] == compulsory


def test_what_does_not_fit_at_all_is_infinite() -> None:
    rooms = [(100.0, 1e6), (1e6, 100.0), (1e6, 1e6)]
    found = best_tiling(512, 300, 700, sizes((1.0, 1.0, 1.0, 4.0), rooms))
    assert list(np.isfinite(found.total)) == [False, False, True]


@pytest.mark.parametrize("size", [1, 2, 7, 64, 1000])
@pytest.mark.parametrize("least", [1, 5, 64])
def test_every_number_of_tiles_has_its_smallest_tile(size: int, least: int) -> None:
    least = min(size, least)
    found = tile_sizes(size, least)
    every = {max(math.ceil(size / count), least) for count in range(1, size + 1)}
    assert sorted(found) == sorted(every)
