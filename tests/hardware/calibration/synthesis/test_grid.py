"""The grid of units, and the part of it that a quick one takes."""

from __future__ import annotations

from codesign.hardware.calibration.synthesis.grid import FEWEST, PLANNED_LEVEL_PS, grid, spread, unpipelined


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


def test_a_quick_grid_is_pipelined_as_the_grid_is() -> None:
    whole = set(grid((1900.0, 950.0), PLANNED_LEVEL_PS))
    quick = grid((1900.0, 950.0), PLANNED_LEVEL_PS, FEWEST)
    assert len(quick) == 2 * FEWEST
    assert set(quick) <= whole
