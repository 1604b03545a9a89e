"""The loss of accumulators in the layers of a study."""

from __future__ import annotations

import pytest

from codesign.formats import FormatPair
from codesign.hardware import MacUnit
from codesign.models.custom import CustomTask
from codesign.quality import Evaluator
from codesign.search.study.accumulation import Accumulation, sums_alike

UNIT = MacUnit((FormatPair.parse("fp6_e3m2:fp8_e4m3"),), "fp16")
NEAREST, ROUNDED = FormatPair.parse("fp6_e3m2:fp8_e4m3"), FormatPair.parse("fp6_e3m2:fp8_e4m3 + gptq")


@pytest.fixture(scope="module")
def found(tiny: CustomTask) -> Accumulation:
    return Accumulation({"tiny": Evaluator(tiny)})


def test_sums_are_those_of_the_codes_that_the_method_chooses(found: Accumulation) -> None:
    for layer in ("conv", "to_q"):
        kept = [found.sqnr_db("tiny", layer, pair, UNIT) for pair in (NEAREST, ROUNDED)]
        assert kept[0] != kept[1]
        assert min(kept) > 10, kept


def test_what_a_saturating_accumulator_loses_is_measured(found: Accumulation) -> None:
    pair = FormatPair.parse("int8")
    narrow, wide = (found.sqnr_db("tiny", "conv", pair, MacUnit((pair,), name)) for name in ("int15_sat", "int32_sat"))
    assert 0 < narrow < wide == float("inf")


def test_keys_and_values_have_no_method(tiny: CustomTask, found: Accumulation) -> None:
    (attention,) = [layer for layer, kind in tiny.workload().layer_kinds().items() if kind == "attention"]
    assert len({found.sqnr_db("tiny", attention, pair, UNIT) for pair in (NEAREST, ROUNDED)}) == 1


def test_units_that_sum_a_pair_alike_do_so_by_every_method() -> None:
    other = MacUnit((NEAREST, FormatPair.parse("fp8_e4m3")), "fp16")
    assert sums_alike(UNIT, other, ROUNDED)
    assert not sums_alike(UNIT, MacUnit((NEAREST,), "fp32"), ROUNDED)
