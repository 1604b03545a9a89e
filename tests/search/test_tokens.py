"""Formats per token in a space: choices of layers, which take the units of the plain formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from codesign.formats import FormatPair
from codesign.hardware import MacUnit
from codesign.models.custom import CustomTask
from codesign.quality import Evaluator
from codesign.search import load_space, search
from codesign.search.space.written import UnitSpec
from codesign.search.study.accumulation import Accumulation

SPACE = """
name: tokens
tasks:
  tiny: {task: "python:tests.tiny:untrained"}
pairs: [int8, "int8:int8_token"]
hardware: {units: {sets: [[int8]]}, rows: [2], columns: [2], sram_kib: [16]}
objectives: [tiny.quality, tiny.latency_s]
search: {evaluations: 2}
"""


def test_sets_of_units_are_told_in_plain_formats_or_per_token() -> None:
    written = UnitSpec(
        sets=[["int8"], ["int8_token"], ["int8", "int8:int8_token"]], subsets_of=[["int8", "int8_token"]]
    )
    assert written.resolve() == [(FormatPair("int8", "int8"),)]


@pytest.mark.parametrize("offered", ["int8", "int8_token", "int8:int8_token"])
def test_layers_take_formats_per_token_on_units_told_either_way(offered: str, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(SPACE.replace("[[int8]]", f'[["{offered}"]]'))
    space = load_space(tmp_path / "space.yaml")
    assert list(map(str, space.pairs)) == ["int8:int8", "int8:int8_token"]
    assert list(map(str, space.grid.units[0].pairs)) == ["int8:int8"]
    assert space.networks["tiny"].allowed.all()


def test_both_kinds_of_scales_have_a_baseline_on_the_unit_that_they_share(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(SPACE)
    study = search(tmp_path / "space.yaml", tmp_path / "study")
    assert {b.label for b in study.record.baselines} == {"uniform int8:int8", "uniform int8:int8_token"}
    assert {design.accelerator.pairs for design in study.front} == {("int8:int8",)}


def test_the_arithmetic_of_units_is_checked_on_operands_scaled_per_token(tiny: CustomTask) -> None:
    found = Accumulation({"tiny": Evaluator(tiny)})
    unit = MacUnit((FormatPair.parse("int8"),), "fp16")
    kept = {
        name: np.array([found.sqnr_db("tiny", layer, FormatPair("int8", name), unit) for layer in ("to_q", "head")])
        for name in ("int8", "int8_token")
    }
    assert np.isfinite(kept["int8_token"]).all()
    assert not np.array_equal(kept["int8_token"], kept["int8"])
