"""Formats of the grammar are tried on a network's layers, and the best become pairs of the space."""

from __future__ import annotations

from pathlib import Path

import pytest

from codesign.formats import get_format
from codesign.quality import cache as cache_module
from codesign.quality import sample_operands, screen
from codesign.search.space import grammar
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


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "codesign"


def grammar_space(folder: Path) -> Path:
    (folder / "space.yaml").write_text(SPACE)
    return folder / "space.yaml"


def test_a_format_is_measured_once(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_space(grammar_space(tmp_path))
    assert list(cache.rglob("*.json"))
    monkeypatch.setattr(screen, "sample_operands", None)  # whoever measures or prices again fails
    monkeypatch.setattr(grammar, "MacUnit", None)
    again = load_space(tmp_path / "space.yaml")
    assert (again.screened, again.pairs) == (first.screened, first.pairs)


def test_a_format_is_measured_again_after_the_code_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_space(grammar_space(tmp_path))
    sampled = []
    monkeypatch.setattr(cache_module, "code_version", lambda: "another")
    monkeypatch.setattr(screen, "sample_operands", lambda task: sampled.append(task.name) or sample_operands(task))
    load_space(tmp_path / "space.yaml")
    assert sampled == ["tiny"]


def test_formats_are_tried_where_nothing_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert load_space(grammar_space(tmp_path)).screened


@pytest.mark.slow
def test_the_best_in_error_and_area_are_kept_and_the_reasons_are_told(tmp_path: Path) -> None:
    space = load_space(grammar_space(tmp_path))
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
