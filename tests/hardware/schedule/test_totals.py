"""Fixed assignments on many accelerators: the cost of each design, without its breakdown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from codesign.errors import InputError
from codesign.formats import Assignment, LayerFormats
from codesign.hardware import AcceleratorGrid, cost
from codesign.hardware.schedule.tables import FIELDS
from codesign.hardware.schedule.totals import AssignmentTotals
from codesign.workload.types import Workload
from tests.hardware.cases import BF16, FP8, INT8, W4A8, decoder, unet, uniform


def grid(**changes: Any) -> AcceleratorGrid:
    ranges = {
        "pair_sets": [(INT8, W4A8), (FP8,), (BF16, INT8)],
        "dot": [8, 32],
        "rows": [4, 16],
        "columns": [8],
        "sram_bytes": [256, 32 * 1024, 2**20],  # the first holds no tile
        "dram": ["lpddr5", "lpddr6_14400"],
        "vector_lanes": [0, 8],
    }
    return AcceleratorGrid.from_ranges(**(ranges | changes))


def mixed(workload: Workload) -> Assignment:
    """Two pairs in turn; the values of the attention in another format than its keys."""
    layers = dict(uniform(workload, INT8).layers)
    for name in list(layers)[::2]:
        layers[name] = uniform(workload, W4A8)[name]
    return Assignment.of(layers | {"attention": LayerFormats("int8", key="int8", value="int4_g32")})


DRAM = [5e-5, 4.5e-4, 8]  # GiB: `decoder` needs the second, or a flash; `unet` the third, or the second and a flash
CHIPS = {
    "processors": grid(),
    "memories": grid(
        dram_gib=DRAM, flash=["", "ufs3.1"], codec=["", "huffman"], rows=[4], dot=[8], dram=["lpddr5"], vector_lanes=[8]
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("chips", CHIPS.values(), ids=CHIPS)
@pytest.mark.parametrize("workload", [unet(), decoder()], ids=lambda w: w.name)
def test_totals_are_those_of_the_cost_of_each_design(workload: Workload, chips: AcceleratorGrid) -> None:
    assignments = [uniform(workload, INT8), mixed(workload), uniform(workload, FP8)]
    found = AssignmentTotals(workload, assignments).on(chips)
    assert set(found) | {"area_mm2", "latency_per_token_s"} == set(FIELDS)
    assert ("latency_per_token_s" in found) == ("decode" in workload.phases)
    for a, chip in enumerate(chips):
        for s, assignment in enumerate(assignments):
            try:
                one = cost(workload, chip, assignment)
            except InputError:
                assert all(np.isinf(values[a, s]) for values in found.values())
                continue
            for field, values in found.items():
                wanted = one.latency_per_pass_s["decode"] if field == "latency_per_token_s" else getattr(one, field)
                assert values[a, s] == pytest.approx(wanted, rel=1e-12), field


def test_some_designs_are_impossible_and_some_are_not() -> None:
    found = AssignmentTotals(unet(), [uniform(unet(), INT8)]).on(grid())["latency_s"]
    assert np.isfinite(found).sum() == len(grid()) * 2 / 3 * 2 / 3


def test_a_part_of_a_grid_costs_the_same_bit_for_bit() -> None:
    chips, totals = grid(), AssignmentTotals(decoder(), [uniform(decoder(), INT8), mixed(decoder())])
    whole, part = totals.on(chips), totals.on(chips[5:29])
    for field, values in part.items():
        assert (values == whole[field][5:29]).all()


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"uq": LayerFormats("int8", "int8")}, "decoder has no layer 'uq'; did you mean 'up'"),
        ({"up": None}, "decoder: the assignment gives no formats for layer 'up'"),
        ({"up": LayerFormats("int8", key="int8", value="int8")}, "decoder: layer 'up': no stationary format"),
    ],
)
def test_an_assignment_of_another_network_is_refused(layers: dict[str, LayerFormats | None], message: str) -> None:
    given = dict(uniform(decoder(), INT8).layers) | layers
    with pytest.raises(InputError, match=message):
        AssignmentTotals(decoder(), [Assignment.of({k: v for k, v in given.items() if v})])
