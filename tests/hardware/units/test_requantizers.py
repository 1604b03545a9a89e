"""Area and energy of requantizers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from codesign.formats import FormatPair, format_names
from codesign.hardware import MacUnit
from codesign.hardware.units.coefficients import table
from codesign.hardware.units.requantizers import modelled_delay_ps, requantizer_cost, requantizer_to

REPORTS = Path(__file__).parents[3] / "reports" / "validation"
UNIT = MacUnit((FormatPair.parse("int8"),), dot=16)


@pytest.mark.parametrize("name", format_names())
def test_every_format_but_fp32_has_a_requantizer(name: str) -> None:
    assert (requantizer_to(name, UNIT) is None) == (name == "fp32")


@pytest.mark.parametrize("name", ["bf16", "int8_zp", "int4_token", "fp8_e5m2", "mxfp6_e2m3", "nvfp4", "int4_g32"])
def test_area_and_energy_of_every_kind_lie_in_their_intervals(name: str) -> None:
    cost = requantizer_cost(name, UNIT)
    assert cost is not None
    assert 0 < cost.area_um2.low < cost.area_um2.value < cost.area_um2.high
    assert 0 < cost.energy_pj.low < cost.energy_pj.value < cost.energy_pj.high


@pytest.mark.parametrize("library", ["asap7", "sg13g2", "osu018"])
def test_the_intervals_hold_the_requantizers_that_were_synthesised(library: str) -> None:
    rows = json.loads((REPORTS / "requantizers.json").read_text())
    intervals = table("system.yaml", "requantizer")
    own = [row for row in rows if row["library"] == library]
    assert {row["kind"] for row in own} >= {"cast", "given", "range", "block"}
    for quantity, unit in (("area", "um2"), ("energy", "pj")):
        ratios = [row[f"{quantity}_{unit}"] / row[f"model_{quantity}_{unit}"] for row in own]
        assert intervals[quantity].low <= min(ratios)
        assert max(ratios) <= intervals[quantity].high


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
