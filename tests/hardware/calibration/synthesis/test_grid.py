"""The grid of units, and the part of it that a quick one takes."""

from __future__ import annotations

import pytest

from codesign.errors import InputError
from codesign.formats import FormatPair
from codesign.hardware.calibration.synthesis.grid import (
    FEWEST,
    PLANNED_LEVEL_PS,
    grid,
    spread,
    units_of,
    unpipelined,
)


def test_a_quick_grid_has_units_of_every_family_and_is_part_of_each_larger_one() -> None:
    units = unpipelined()
    smallest = spread(units, FEWEST)
    assert {family for family, _ in smallest} == {family for family, _ in units}
    assert len({unit.name for _, unit in smallest}) == FEWEST
    assert spread(units, FEWEST + 7)[:FEWEST] == smallest
    assert {unit.lanes for _, unit in smallest} >= {1, 8, 16}


def test_all_units_of_a_quick_grid_are_the_grid() -> None:
    units = unpipelined()
    assert {unit.name for _, unit in spread(units, len(units))} == {unit.name for _, unit in units}


@pytest.mark.slow
def test_a_quick_grid_is_pipelined_as_the_grid_is() -> None:
    whole = set(grid((1900.0, 950.0), PLANNED_LEVEL_PS))
    quick = grid((1900.0, 950.0), PLANNED_LEVEL_PS, FEWEST)
    assert len(quick) == 2 * FEWEST
    assert set(quick) <= whole


def test_formats_of_the_grammar_join_the_grid_pipelined_for_both_clocks() -> None:
    pairs = [FormatPair.parse(text) for text in ("int5_g64", "fp6_e3m2_g24_se8m0:int8", "int5_g64")]
    quick = grid((1900.0, 950.0), PLANNED_LEVEL_PS, FEWEST)
    joined = [entry for entry in grid((1900.0, 950.0), PLANNED_LEVEL_PS, FEWEST, pairs) if entry not in quick]
    asked = [(str(entry.unit.pairs[0]), entry.unit.lanes, entry.clock_ps) for entry in joined]
    steps = [("int5_g64", (1, 8, 16)), ("fp6_e3m2_g24_se8m0:int8", (1, 8, 12))]  # whole parts of a block
    assert [row for row in asked if row[2] == 1900] == [
        (str(FormatPair.parse(text)), lanes, 1900.0) for text, lengths in steps for lanes in lengths
    ]
    assert len(joined) == 2 * 6


def test_a_unit_that_the_grid_has_does_not_join_it_again() -> None:
    int8 = FormatPair.parse("int8")
    assert units_of([int8], [unit for _, unit in unpipelined()]) == []
    assert len(units_of([int8])) == 3


def test_blocks_that_no_unit_takes_together_are_refused() -> None:
    with pytest.raises(InputError, match="do not fit into each other"):
        units_of([FormatPair.parse("int8_g24:int8_g16")])
