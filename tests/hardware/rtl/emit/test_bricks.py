"""Products of narrow modes are given to sub-multipliers once each, with as few selectors as possible."""

from __future__ import annotations

from collections import Counter

import pytest

from codesign.formats import FormatPair
from codesign.hardware.rtl import Unit, build
from codesign.hardware.rtl.analyse.parts import bill_of_materials
from codesign.hardware.rtl.emit.bricks import uses


def unit(pairs: tuple[str, ...], rates: tuple[int, ...], lanes: int) -> Unit:
    return Unit(tuple(map(FormatPair.parse, pairs)), "auto", lanes, rates=rates)


@pytest.mark.parametrize(
    ("pairs", "rates"),
    [
        (("int8", "int4"), (1, 4)),
        (("int8", "int4:int8"), (1, 2)),
        (("int8", "int4:int8", "int4"), (1, 2, 4)),
        (("int8", "int6"), (1, 1)),
        (("int16", "int8"), (1, 4)),
    ],
)
def test_every_mode_multiplies_each_pair_of_codes_once(pairs: tuple[str, ...], rates: tuple[int, ...]) -> None:
    made = unit(pairs, rates, 3)
    for index, mode in enumerate(made.modes):
        bits: Counter[tuple[int, int]] = Counter()
        for brick in uses(made.modes):
            if (chunks := brick[index].chunks) is not None:
                w, a = chunks
                bits.update((i, j) for i in range(w.low, w.low + w.bits) for j in range(a.low, a.low + a.bits))
        size = (mode.weight.bits, mode.activation.bits)
        expected = {
            (product * size[0] + i, product * size[1] + j)
            for product in range(mode.products)
            for i in range(size[0])
            for j in range(size[1])
        }
        assert bits == Counter(expected)


def test_half_of_the_operands_of_int8_and_int4_need_no_selector() -> None:
    made = unit(("int8", "int4"), (1, 4), 4)
    selected = sum(brick[0].chunks != brick[1].chunks and brick[0].chunks is not None for brick in uses(made.modes))
    assert selected > 0
    same = sum(
        own[side].low == other[side].low
        for brick in uses(made.modes)
        if (own := brick[0].chunks) and (other := brick[1].chunks)
        for side in range(2)
    )
    assert same == 2 * 2 * 4  # both operands of two of four bricks, in four lanes


def test_a_shared_unit_is_little_more_than_the_registers_and_multipliers_of_the_wide_one() -> None:
    made = unit(("int8", "int4"), (1, 4), 16), unit(("int8",), (1,), 16)
    shared, wide = map(bill_of_materials, made)
    assert shared["partial_product"] < 1.05 * wide["partial_product"]  # and signs that depend on the mode
    assert shared["compress_majority"] < 1.1 * wide["compress_majority"]


def test_operands_are_selected_in_front_of_their_registers_unless_minifloats_read_them_too() -> None:
    def selected(pairs: tuple[str, ...], rates: tuple[int, ...]) -> set[bool]:
        drivers = {x.name: x for x in build(unit(pairs, rates, 2)).assignments if not x.clocked}
        registers = [x for x in build(unit(pairs, rates, 2)).assignments if x.clocked and x.name.startswith("brick")]
        return {"?" in drivers[register.expression.text].expression.text for register in registers}

    assert selected(("int8", "int4"), (1, 4)) == {True, False}
    assert selected(("int8", "fp8_e4m3"), (1, 1)) == set()


def test_integers_beside_minifloats_have_multipliers_of_their_own_and_common_registers() -> None:
    parts = bill_of_materials(unit(("int8", "fp8_e4m3"), (1, 1), 4))
    alone = [bill_of_materials(unit((pair,), (1,), 4)) for pair in ("int8", "fp8_e4m3")]
    assert parts["partial_product"] == pytest.approx(sum(one["partial_product"] for one in alone), rel=0.03)
    assert parts["register"] == max(one["register"] for one in alone)
