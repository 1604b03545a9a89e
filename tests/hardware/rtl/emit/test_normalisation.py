"""Modes of minifloats leave the adders of others alone: narrow ones have a sum, fast ones a tree of their own."""

from __future__ import annotations

import numpy as np
import pytest

from codesign.formats import FormatPair
from codesign.hardware.arithmetic.modes import divided
from codesign.hardware.rtl import Unit
from codesign.hardware.rtl.analyse.built import built
from codesign.hardware.rtl.analyse.elaborate import unit_gates
from codesign.hardware.rtl.analyse.toggles import toggles
from codesign.hardware.units.activities import NOISE
from codesign.hardware.units.switching import Stimulus, switching

NETWORK = ("restore",)


def unit(pairs: tuple[str, ...], rates: tuple[int, ...] = (), lanes: int = 4, accumulator: str = "auto") -> Unit:
    return Unit(tuple(map(FormatPair.parse, pairs)), accumulator, lanes, rates=rates)


@pytest.mark.parametrize(
    ("pairs", "rates", "narrow"),
    [
        (("fp8_e4m3", "fp4_e2m1"), (1, 2), ["fp4_e2m1"]),
        (("fp16", "fp8_e4m3", "fp6_e2m3", "mxfp4"), (1, 2, 2, 4), ["fp6_e2m3", "mxfp4"]),
        (("fp16", "fp6_e3m2"), (1, 2), []),  # 18 bits of a window of 25
        (("mxfp8_e4m3", "mxfp4"), (1, 1), []),  # as slow as the wide ones: on their multipliers
        (("int8", "int4"), (1, 4), []),
    ],
)
def test_fast_modes_with_products_of_few_bits_are_summed_apart(
    pairs: tuple[str, ...], rates: tuple[int, ...], narrow: list[str]
) -> None:
    _, *apart = divided(unit(pairs, rates).modes)
    assert [mode.pair.weight for modes in apart for mode in modes] == narrow


def test_with_a_fixed_point_accumulator_every_mode_is_in_its_tree() -> None:
    assert len(divided(unit(("fp8_e4m3", "fp4_e2m1"), (1, 2), accumulator="exact").modes)) == 1


def test_a_narrow_mode_glitches_little_more_than_in_a_unit_of_its_own() -> None:
    shared = switching(unit(("fp8_e4m3", "fp4_e2m1"), (1, 2)), 1, NETWORK)
    alone = switching(unit(("fp4_e2m1",), lanes=8), 0, NETWORK)
    assert shared.glitches.sum() < 1.15 * alone.glitches.sum()


def test_the_normalisation_of_one_sum_stands_still_while_that_of_the_other_is_in_use() -> None:
    made = unit(("fp8_e4m3", "fp4_e2m1"), (1, 2))
    widths = {x.name: x.width for x in built(made).assignments if x.name.startswith("norm_")}
    found = unit_gates(made)
    moving = []
    for mode in range(2):
        read = Stimulus.of(made, mode, NETWORK)
        settled = toggles(found, read.ports, read.counted, read.timed, read.masks).settled
        moving.append({widths[name] for name in widths if settled[np.array(found.names[name]) >> 1].any()})
    assert moving == [{27}, {11}]  # bits of the sums of 4 products in a window of 25 bits, and of 8 exact ones


def test_the_adders_of_further_products_stand_still_in_a_slower_mode() -> None:
    made = unit(("fp16", "fp8_e4m3"), (1, 2))
    found = unit_gates(made)
    tree = [x.name for x in built(made).assignments if x.name.startswith("fs_") and x.width >= 25]
    sums = {bit >> 1 for name in tree for bit in found.names[name] if bit > 1}
    moving = []
    for mode in range(2):
        read = Stimulus.of(made, mode, (NOISE,))
        settled = toggles(found, read.ports, read.counted, read.timed, read.masks).settled
        moving.append({gate for gate in sums if settled[gate].any()})
    assert len(moving[1] - moving[0]) == 2 * 25  # two rows of adders, in a window of 25 bits
