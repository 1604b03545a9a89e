"""Quantized weights are kept within a bound, and results do not depend on what is kept."""

from __future__ import annotations

import copy

import pytest
import torch

from codesign.formats import Assignment
from codesign.models.custom import CustomTask
from codesign.quality import Evaluator
from codesign.quality.quantized import Kept


def test_what_is_kept_stays_within_its_bound() -> None:
    kept = Kept(1000)
    for i in range(50):
        kept.put(("layer", str(i)), None, torch.zeros(100))
        assert sum(found[1].numel() * 4 for found in kept._found.values()) == kept._bytes <= 1000
        assert kept.get(("layer", str(i))) is not None
    assert len(kept._found) == 2
    kept.put(("layer", "49"), torch.zeros(50), torch.ones(100))
    found = kept.get(("layer", "49"))
    assert found is not None
    assert found[1].sum() == 100
    kept.clear()
    assert kept.get(("layer", "49")) is None
    assert kept._bytes == 0


def test_what_is_larger_than_the_bound_is_not_kept_and_leaves_the_others() -> None:
    kept = Kept(1000)
    kept.put(("a", ""), None, torch.zeros(10))
    kept.put(("b", ""), None, torch.zeros(1000))
    assert kept.get(("a", "")) is not None
    assert kept.get(("b", "")) is None


@pytest.mark.parametrize("most", [0, 3000, 1 << 30])
def test_values_do_not_depend_on_what_is_kept(tiny: CustomTask, most: int) -> None:
    def values(bound: int) -> list[float]:
        task = copy.copy(tiny)
        task.kept_bytes = bound
        evaluator = Evaluator(task)
        workload = task.workload()
        names = ("int8", "mxfp4", "int8", "fp8_e4m3", "mxfp4")
        return [evaluator(Assignment.uniform(workload, name)).value for name in names]

    assert values(most) == values(1 << 30)
