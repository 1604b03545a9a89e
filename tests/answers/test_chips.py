"""The smallest chip of a grid is that of least area within the limit."""

from __future__ import annotations

import numpy as np
import pytest

from codesign.answers.chips import Chips, Mix, envelope, smallest
from codesign.errors import InputError
from codesign.formats import Assignment, FormatPair
from codesign.hardware import cost
from codesign.workload import named_workload

AXES = {"rows": (2, 8), "columns": (2, 8), "dot": (16,), "sram_bytes": (2**20,), "vector_lanes": (16, 64)}
AXES |= {"dram": ["lpddr5x_8533"], "dram_channels": [2]}


def test_no_smaller_chip_of_the_grid_meets_the_limit() -> None:
    workload = named_workload("clip-l-text")
    mix = Mix.uniform(workload, "int8")
    grid = Chips([7], AXES).grid(mix.pairs, 7)
    costs = [cost(workload, chip, Assignment.uniform(workload, "int8")) for chip in grid]
    latencies = np.array([each.latency_s for each in costs])
    limit = float(np.median(latencies))
    found = smallest(workload, mix, grid, [limit, latencies.min() / 2])
    chip = found.found[0]
    assert chip is not None
    assert chip.cost.area_mm2 == min(each.area_mm2 for each in costs if each.latency_s <= limit)
    assert found.found[1] is None
    assert found.least == pytest.approx(latencies.min())
    assert found.priced == len(grid) == 8


def test_the_estimate_of_the_lanes_is_the_macs_over_the_cycles() -> None:
    workload = named_workload("clip-l-text")
    mix = Mix.uniform(workload, "int8")
    (chip,) = smallest(workload, mix, Chips([7], AXES).grid(mix.pairs, 7), [1.0]).found
    assert chip is not None
    lanes = envelope(workload, chip, 0.5)[0]
    assert lanes.by_hand == pytest.approx(workload.macs() / 0.5e9)
    assert lanes.model == chip.lanes


def test_a_clock_that_no_unit_reaches_is_refused() -> None:
    with pytest.raises(InputError, match="too fast"):
        Chips([28], {**AXES, "clock_hz": [9e9]}).grid([FormatPair.parse("fp8_e4m3")], 28)
