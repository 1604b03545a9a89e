"""A study's design on its own network has its own formats, on another network those by role."""

from __future__ import annotations

from pathlib import Path

import pytest

from codesign.answers.older_node import NodeOptions
from codesign.answers.registry import QUESTIONS
from codesign.answers.studied import studied
from codesign.errors import InputError
from codesign.models import load_task
from codesign.workload import named_workload
from codesign.workload.roles import roles
from tests import designs

CHIP = designs.CHIP | {"pairs": ["int8:int8", "int4:int8"]}
SPACE = """
name: small
tasks: {tiny: {task: "python:tests.tiny:untrained"}}
pairs: [int8, "int4:int8"]
hardware: {units: {sets: [[int8, "int4:int8"]]}, rows: [8], columns: [8], sram_kib: [1024]}
objectives: [tiny.quality, area_mm2]
"""
LAYERS = {
    "conv": {"weight": "int8", "activation": "int8"},
    "to_q": {"weight": "int4", "activation": "int8"},
    "to_k": {"weight": "int4", "activation": "int8"},
    "to_v": {"weight": "int8", "activation": "int8"},
    "root": {"activation": "int8", "key": "int8", "value": "int8"},
    "head": {"weight": "int8", "activation": "int8"},
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One design: queries and keys of 4 bits, 8 bits elsewhere."""
    layers = {layer: LAYERS[layer] for layer in load_task("python:tests.tiny:untrained").workload().layers}
    folder = tmp_path_factory.mktemp("study")
    return designs.write_front(folder, [designs.design("d00000001", {"tiny": layers}, CHIP)], SPACE)


def test_on_the_network_of_the_study_every_layer_has_the_formats_of_the_design(study: Path) -> None:
    found = studied(load_task("python:tests.tiny:untrained").workload(), str(study), "d00000001", "")
    assert found.mix.assignment["to_q"].weight == "int4"
    assert {str(pair) for pair in found.mix.pairs} == {"int8:int8", "int4:int8"}
    assert found.quality == "d00000001: quality was not measured"  # the front of this test has none


def test_on_another_network_they_are_given_by_role_and_not_measured(study: Path) -> None:
    workload = named_workload("clip-l-text")
    found = studied(workload, str(study), "d00000001", "")
    by_role = roles(workload)
    four = {by_role[layer] for layer, formats in found.mix.assignment.layers if formats.weight == "int4"}
    assert four == {"attention_q", "attention_k"}
    assert "transferred by role and was not measured" in found.quality
    assert "ff_down, ff_up as most of its MACs, int8:int8" in found.quality


@pytest.mark.slow
def test_the_chip_of_the_older_node_may_have_the_formats_of_a_design(study: Path) -> None:
    question = QUESTIONS["older-node"]
    written = [
        "network=python:tests.tiny:untrained",
        "seconds=0.001",
        "plain=int8",
        "codesigned=int8",
        f"study={study}",
        "design=d00000001",
    ]
    options = question.asked(written)
    assert isinstance(options, NodeOptions)
    answer = question.answer(options, lambda _: None)
    last = answer.tables[0].rows[-1]
    assert last["formats"] == "d00000001 of small"
    assert last["node_nm"] == 7
    assert "d00000001: quality was not measured" in answer.assumptions


def test_a_design_without_a_study_is_refused() -> None:
    question = QUESTIONS["older-node"]
    with pytest.raises(InputError, match="go with study=FOLDER"):
        question.answer(question.asked(["design=d00000001", "network=clip-l-text"]), lambda _: None)
