"""Area and energy of requantizers."""

from __future__ import annotations

import pytest

from codesign.formats import FormatPair, format_names
from codesign.hardware import MacUnit
from codesign.hardware.units.requantizers import requantizer_cost

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
    assert given.area_um2.value < found.area_um2.value
    assert given.energy_pj.value == pytest.approx(found.energy_pj.value)  # the vector unit finds it
