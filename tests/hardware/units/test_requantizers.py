"""Area and energy of requantizers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from codesign.formats import FormatPair, format_names
from codesign.hardware import MacUnit
from codesign.hardware.units.requantizers import modelled_delay_ps, requantizer_cost, requantizer_to

UNIT = MacUnit((FormatPair.parse("int8"),), dot=16)


@pytest.mark.slow
@pytest.mark.parametrize("name", format_names())
def test_every_format_but_fp32_has_a_price(name: str) -> None:
    cost = requantizer_cost(name, UNIT)
    if name == "fp32":
        assert cost is None
        return
    assert cost is not None
    assert 0 < cost.area_um2.low < cost.area_um2.value < cost.area_um2.high
    assert 0 < cost.energy_pj.low < cost.energy_pj.value < cost.energy_pj.high


def test_power_of_two_scales_are_the_cheapest_and_a_found_range_costs_more_than_a_given_one() -> None:
    power, given, found = (requantizer_cost(name, UNIT) for name in ("mxint8", "int8", "int8_token"))
    assert power is not None
    assert given is not None
    assert found is not None
    assert power.area_um2.value < 0.6 * given.area_um2.value
    assert power.energy_pj.value < 0.6 * given.energy_pj.value
    assert given.area_um2.value < found.area_um2.value
    assert given.energy_pj.value == pytest.approx(found.energy_pj.value)  # the vector unit finds it


def test_a_coarser_element_takes_fewer_steps_of_division() -> None:
    coarse, fine = (requantizer_cost(name, UNIT) for name in ("int4", "int16"))
    assert coarse is not None
    assert fine is not None
    assert coarse.area_um2.value < 0.7 * fine.area_um2.value
    assert coarse.energy_pj.value < 0.6 * fine.energy_pj.value


@pytest.mark.parametrize("clock", [0.5, 1.0])
def test_a_requantizer_is_pipelined_for_the_clock_of_the_units(clock: float) -> None:
    found = requantizer_to("int8", replace(UNIT, clock_ghz=clock))
    assert found is not None
    assert found.cuts
    assert modelled_delay_ps(found, UNIT.model) <= 1e3 / clock


def test_a_slower_clock_needs_fewer_registers() -> None:
    slow, fast = (requantizer_cost("int8", replace(UNIT, clock_ghz=clock)) for clock in (0.3, 1.0))
    assert slow is not None
    assert fast is not None
    assert slow.area_um2.value < fast.area_um2.value
