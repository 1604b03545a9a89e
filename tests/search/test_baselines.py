"""Baselines: which designs count as mixed, and what a study says of each uniform format."""

from __future__ import annotations

from pathlib import Path

from codesign.search import search

SPACE = """
name: pairs
tasks:
  tiny: {task: "python:tests.tiny:task"}
pairs: [int4, "int4:int8"]
objectives: [tiny.quality, tiny.weight_bytes]
search: {evaluations: 2}
"""


def test_a_uniform_pair_of_two_formats_is_not_mixed(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(SPACE)
    study = search(tmp_path / "space.yaml", tmp_path / "study")
    assert {baseline.label for baseline in study.record.baselines} == {
        "uniform int4:int4+gptq",
        "uniform int4:int8+gptq",
    }
    assert not any(design.is_mixed for design in study.front)
    assert all(baseline.dominated_by is None for baseline in study.record.baselines)
