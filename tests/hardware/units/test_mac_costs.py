"""Many MAC units at once against one at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from codesign.errors import InputError
from codesign.formats import FormatPair
from codesign.hardware import MacUnit
from codesign.hardware.units.mac_costs import mac_costs

UNITS = [
    MacUnit((FormatPair.parse("int8"),), "int32", 8),
    MacUnit((FormatPair.parse("fp8_e4m3"), FormatPair.parse("int8")), dot=4),
]


@pytest.mark.parametrize("activity", [None, "noise"])
def test_every_row_is_what_the_unit_says(activity: str | None) -> None:
    rng = np.random.default_rng(0)
    unit = rng.integers(0, 2, 40)
    node = rng.choice([3.0, 4.5, 7.0, 20.0, 45.0, 130.0, 180.0], 40)
    clock = rng.uniform(0.05, 2.0, 40)
    found = mac_costs(UNITS, unit, node, clock, activity)
    for i in range(40):
        one = replace(UNITS[unit[i]], node_nm=float(node[i]), clock_ghz=float(clock[i]))
        assert found.area_um2[i] == pytest.approx(tuple(one.area_um2.to_dict().values()))
        assert found.delay_ns[i] == pytest.approx(tuple(one.delay_ns.to_dict().values()))
        assert found.leakage_nw[i] == pytest.approx(tuple(one.leakage_nw.to_dict().values()))
        assert found.energy_pj[i] == pytest.approx(tuple(one.energy_pj(one.pairs[0], activity).to_dict().values()))


def test_scalars_stand_for_all_rows() -> None:
    found = mac_costs(UNITS, np.array([0, 0]), np.array(7.0), np.array([0.1, 1.5]))
    assert found.area_um2[0, 0] < found.area_um2[1, 0]  # a faster clock costs registers
    assert found.delay_ns[0, 0] > found.delay_ns[1, 0]


@pytest.mark.parametrize(
    ("node", "clock", "message"),
    [(2.0, 1.0, "no logic_area for 2 nm"), (7.0, 0.0, "clock_ghz must lie"), (7.0, 21.0, "clock_ghz must lie")],
)
def test_a_node_or_clock_out_of_range_is_refused(node: float, clock: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        mac_costs(UNITS, np.array([0]), np.array([node]), np.array([clock]))
