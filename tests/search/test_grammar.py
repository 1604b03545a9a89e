"""Formats of the grammar are tried on a network's layers, and the best become pairs of the space."""

from __future__ import annotations

from pathlib import Path

import pytest

from codesign.formats import get_format
from codesign.search.space.grammar import candidates
from codesign.search.space.resolve import load_space
from codesign.search.space.written import GrammarSpec

SPACE = """name: grammar
tasks: {tiny: {task: "python:tests.tiny:task"}}
pairs: [int8]
formats: {grammar: {elements: [integer, float], bits: [4, 4.5], blocks: [16, 32], scales: [e8m0], keep: 2, dot: 4}}
hardware: {units: {sets: [[int8]]}, rows: [4], columns: [4], sram_kib: [64], dot: [4]}
objectives: [tiny.quality, area_mm2]
"""


def test_candidates_are_all_formats_whose_stored_bits_lie_in_the_range() -> None:
    names = candidates(GrammarSpec(bits=[4, 4.5]))
    assert len(names) > 100
    assert {"mxfp4", "nvfp4", "int4_g32", "nf4_g16_s2u4", "lns4_i2f1_g32_se8m0"} <= set(names)
    assert all(4 <= get_format(name).bits_per_element <= 4.5 for name in names)


@pytest.mark.slow
def test_the_best_in_error_and_area_are_kept_and_the_reasons_are_told(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(SPACE)
    space = load_space(tmp_path / "space.yaml")
    kept = [each for each in space.screened if each.kept]
    assert 1 <= len(kept) <= 2
    names = {pair.formats.weight for pair in space.pairs}
    assert names == {"int8", *(each.name for each in kept)}
    assert [each.error_db for each in space.screened] == sorted(each.error_db for each in space.screened)
    priced = [each for each in space.screened if each.area_um2 is not None]
    for one in kept:
        assert not any(o.error_db < one.error_db and (o.area_um2 or 0) < (one.area_um2 or 0) for o in priced)
    assert all(each.why for each in space.screened)
    assert space.space_hash == load_space(tmp_path / "space.yaml").space_hash
