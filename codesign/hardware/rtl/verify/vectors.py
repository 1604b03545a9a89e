"""Test vectors of a unit: all pairs of codes or a million random ones, corner cases, long accumulations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from codesign.formats import IntElement
from codesign.formats.tabulated import LogElement
from codesign.hardware.arithmetic.modes import Mode, Side
from codesign.hardware.rtl.emit.unit import Unit
from codesign.hardware.rtl.verify.twin import Twin

EXHAUSTIVE_BITS = 18  # of both codes together: allows 8-bit codes with zero points subtracted
RANDOM_PAIRS = 1_000_000
LONG_STEPS = 1024  # of one accumulation
_ONE_NUMBER = 62  # bits of two codes that are drawn as one number

Array = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Vectors:
    """Steps of one mode and the expected accumulator after each; codes as in `Twin.run`, without a batch."""

    mode: int
    first: npt.NDArray[np.bool_]
    weight: Array
    activation: Array
    weight_scale: Array | None
    activation_scale: Array | None
    expected: Array

    @property
    def steps(self) -> int:
        return len(self.first)


def twin_of(unit: Unit, mode: int, interleave: int | None = None) -> Twin:
    """The model of one mode of a unit, with the unit's accumulator.

    interleave: number of interleaved sums; the unit's if None.
    """
    found = unit.modes[mode]
    fixed = unit.accumulator_bits if found.fixed_accumulator else None
    return Twin(found.pair, unit.accumulator, found.products, interleave or unit.interleave, fixed)


def make(
    unit: Unit,
    mode: int,
    weight: Array,
    activation: Array,
    first: npt.NDArray[np.bool_],
    weight_scale: Array | None = None,
    activation_scale: Array | None = None,
) -> Vectors:
    """Vectors with the given codes, and the accumulators expected by the twin."""
    expected = twin_of(unit, mode).run(weight, activation, first, weight_scale, activation_scale)
    return Vectors(mode, first, weight, activation, weight_scale, activation_scale, expected)


def verification(unit: Unit, mode: int, seed: int = 0, pairs: int | None = None) -> Vectors:
    """Verification vectors of a mode: all pairs of codes (random ones above 8 bits), corner cases, long sums.

    pairs: limit on the number of pairs of codes, for a quick check.
    """
    rng = np.random.default_rng(seed)
    found = unit.modes[mode]
    lanes = found.products
    bits = found.weight.bits + found.activation.bits
    everything = bits <= EXHAUSTIVE_BITS
    drawn = _split(rng.permutation(1 << bits), found) if everything else _random(found, RANDOM_PAIRS, rng)
    drawn = drawn[:, :pairs]
    drawn = np.concatenate([drawn, drawn[:, : -drawn.shape[1] % lanes]], axis=1)
    single = (drawn.reshape(2, -1, lanes), np.ones(drawn.shape[1] // lanes, bool))
    corners = _corners(found, lanes, rng)
    long = _random(found, (2 * LONG_STEPS + 7) * lanes, rng)
    running = np.zeros(2 * LONG_STEPS + 7, bool)
    running[: unit.interleave] = True
    running[LONG_STEPS + 3 : LONG_STEPS + 3 + unit.interleave] = True
    parts = [single, corners, (long.reshape(2, -1, lanes), running)]
    codes = np.concatenate([part[0] for part in parts], axis=1)
    first = np.concatenate([part[1] for part in parts])
    steps = len(first)
    scales = [_scales(found, side, steps, rng) for side in (found.weight, found.activation)]
    weight, activation = (_signed(codes[i], side) for i, side in enumerate((found.weight, found.activation)))
    return make(unit, mode, weight, activation, first, *scales)


def _random(mode: Mode, count: int, rng: np.random.Generator) -> Array:
    """Random bit patterns of weight and activation, [2, n]."""
    bits = mode.weight.bits + mode.activation.bits
    if bits <= _ONE_NUMBER:
        return _split(rng.integers(0, 1 << bits, count), mode)
    return np.stack([rng.integers(0, 1 << side.bits, count) for side in (mode.weight, mode.activation)])


def drawn(mode: Mode, side: Side, shape: tuple[int, int], seed: int) -> tuple[Array, Array | None]:
    """Random codes of one operand [*shape, products], and its block scales [*shape, scales per step]; None without."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 1 << side.bits, (*shape, mode.products))
    scales = _scales(mode, side, shape[0] * shape[1], rng)
    return _signed(codes, side), None if scales is None else scales.reshape(*shape, -1)


def summed(unit: Unit, mode: int, groups: int = 60, longest: int = 9, seed: int = 0) -> tuple[Vectors, Flags]:
    """Random sums of 1 to `longest` steps for a stream of steps: (vectors, whether a step is the last one of its sum).

    In every group, as many sums as the unit interleaves take turns.
    """
    rng = np.random.default_rng(seed)
    found = unit.modes[mode]
    turns = unit.interleave if found.float_element else 1
    lengths = rng.integers(1, longest + 1, groups)
    first = np.concatenate([np.arange(n * turns) < turns for n in lengths])
    last = np.concatenate([np.arange(n * turns) >= (n - 1) * turns for n in lengths])
    codes = _random(found, len(first) * found.products, rng).reshape(2, -1, found.products)
    scales = [_scales(found, side, len(first), rng) for side in (found.weight, found.activation)]
    weight, activation = (_signed(codes[i], side) for i, side in enumerate((found.weight, found.activation)))
    return make(unit, mode, weight, activation, first, *scales), last


def _split(order: Array, mode: Mode) -> Array:
    """Bit patterns of weight and activation from one number each, [2, n]."""
    low = mode.activation.bits
    return np.stack([order >> low & (1 << mode.weight.bits) - 1, order & (1 << low) - 1])


def _signed(codes: Array, side: Side) -> Array:
    if not isinstance(side.element, IntElement):
        return codes
    half = 1 << (side.bits - 1)
    return (codes + half) % (1 << side.bits) - half


def _extremes(side: Side) -> list[int]:
    """Bit patterns of the largest and smallest magnitudes and their neighbours, of both signs."""
    half = 1 << (side.bits - 1)
    if side.is_integer:
        return [0, 1, half - 1, half, half + 1, 2 * half - 1]
    one = 1 << (side.element.fraction_bits if isinstance(side.element, LogElement) else side.significand - 1)
    return [0, 1, one - 1, one, half - 1, half - one, half, half + 1, half + one, 2 * half - 1]


def _corners(mode: Mode, lanes: int, rng: np.random.Generator) -> tuple[Array, npt.NDArray[np.bool_]]:
    """All pairs of extremes, the same in all lanes and mixed over the lanes; isolated and accumulated."""
    pairs = np.array([(w, a) for w in _extremes(mode.weight) for a in _extremes(mode.activation)]).T
    same = np.repeat(pairs[:, :, None], lanes, axis=2)
    mixed = pairs[:, rng.integers(0, pairs.shape[1], (4 * pairs.shape[1], lanes))]
    codes = np.concatenate([same, same, mixed], axis=1)
    first = np.ones(codes.shape[1], bool)
    first[pairs.shape[1] :: 2] = False
    return codes, first


def _scales(mode: Mode, side: Side, steps: int, rng: np.random.Generator) -> Array | None:
    """Scale codes: mostly around 1, a fifth over the whole range with its ends."""
    if side.scale is None:
        return None
    element = side.scale
    groups = max(1, mode.products // side.block)
    if isinstance(element, IntElement):
        return rng.integers(0, element.max_code + 1, (steps, groups))
    # a quantizer never produces sign and NaN codes
    most = (1 << (element.exponent_bits + element.mantissa_bits)) - (2 if element.specials == "nan" else 1)
    middle = element.bias << element.mantissa_bits
    spread = 4 << element.mantissa_bits
    near = np.clip(rng.integers(middle - spread, middle + spread + 1, (steps, groups)), 0, most)
    anywhere = rng.integers(0, most + 1, (steps, groups))
    ends = rng.choice([0, 1, most - 1, most], (steps, groups))
    choice = rng.random((steps, groups))
    return np.where(choice < 0.8, near, np.where(choice < 0.9, anywhere, ends))
