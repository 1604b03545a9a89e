"""Methods as choices of a space, beside the pairs of formats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from codesign.designs.folder import load_front
from codesign.errors import InputError
from codesign.formats import Assignment, FormatPair
from codesign.models.custom import CustomTask
from codesign.quality import Evaluator
from codesign.search import SearchSpace, load_space, search

SPACE = """
name: methods
tasks:
  net: {{task: "python:net:task"{task}}}
pairs: [{pairs}]
objectives: [net.quality, net.weight_bytes]
search: {{evaluations: 4, batch: 2}}
"""


class Network(nn.Module):
    """Two linear layers and an attention."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(32, 32), nn.Linear(32, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        out: torch.Tensor = self.last(nn.functional.scaled_dot_product_attention(y, y, y))
        return out


def make_task() -> CustomTask:
    torch.manual_seed(0)
    x = torch.randn(12, 4, 32).cumsum(2)
    return CustomTask("net", Network(), x[:6], x[6:], None)


Written = Callable[..., Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    (tmp_path / "net.py").write_text("from tests.search.test_choices import make_task as task\n")

    def write(pairs: str = "int8, int4", task: str = "") -> Path:
        path = tmp_path / "space.yaml"
        path.write_text(SPACE.format(pairs=pairs, task=f", {task}" if task else ""))
        return path

    return write


def choices(space: SearchSpace) -> dict[str, list[str]]:
    network = space.networks["net"]
    rows = zip(network.layers, network.allowed, strict=True)
    return {layer: [str(space.pairs[c]) for c in row.nonzero()[0]] for layer, row in rows}


def test_weights_of_few_bits_are_rounded_by_gptq_unless_the_space_says_otherwise(written: Written) -> None:
    found = choices(load_space(written("int8, int4, int6:int8, fp4_e2m1, mxfp8_e4m3, bf16")))
    usual = [
        "int8:int8",
        "int4:int4+gptq",
        "int6:int8+gptq",
        "fp4_e2m1:fp4_e2m1+gptq",
        "mxfp8_e4m3:mxfp8_e4m3",
        "bf16:bf16",
    ]
    assert found == {"first": usual, "root": usual, "last": usual}


def test_one_word_rounds_all_weights_to_the_nearest(written: Written) -> None:
    assert choices(load_space(written(task="methods: nearest")))["first"] == ["int8:int8", "int4:int4"]


def test_several_methods_are_several_choices_of_a_weight_and_one_of_an_attention(written: Written) -> None:
    space = load_space(written("int8, int4", "methods: [nearest, gptq]"))
    each = ["int8:int8", "int8:int8+gptq", "int4:int4", "int4:int4+gptq"]
    assert choices(space) == {"first": each, "root": ["int8:int8", "int4:int4"], "last": each}
    network = space.networks["net"]
    uniform = network.uniform(FormatPair("int4", "int4", "gptq"))
    assert uniform is not None
    assert network.assignment(uniform) == Assignment.of_pairs(
        dict.fromkeys(network.layers, FormatPair("int4", "int4", "gptq")), network.kinds
    )


def test_methods_may_differ_by_layer_and_by_pair(written: Written) -> None:
    found = choices(load_space(written('int8, int4, "int4:int8+clip"', "methods: {last: clip, first: [nearest]}")))
    assert found["first"] == ["int8:int8", "int4:int4", "int4:int8+clip"]
    assert found["last"] == ["int8:int8+clip", "int4:int4+clip", "int4:int8+clip"]


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("methods: gtpq", r"space.yaml:4: .*unknown method 'gtpq'.*gptq"),
        ("methods: {lst: gptq}", r"space.yaml:4: layer pattern 'lst' matches no layer of net.*last"),
        ("methods: 3", r"space.yaml:4: .*methods"),
        ("layers: {first: [int4+gtpq]}", r"space.yaml:4: .*unknown method 'gtpq'"),
    ],
)
def test_a_wrong_method_is_refused_with_file_and_line(written: Written, task: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_space(written(task=task))


def test_a_study_measures_its_designs_by_their_methods(written: Written, tmp_path: Path) -> None:
    path = written("int8, int4:int8", "methods: [nearest, gptq]")
    study = search(path, tmp_path / "study")
    front = load_front(tmp_path / "study")
    methods = {formats.method for design in front for _, formats in design.assignments["net"].layers}
    assert "gptq" in methods
    assert {"int4:int8", "int4:int8+gptq"} <= set(study.record.sensitivities["net"]["first"])
    design = next(d for d in front if any(f.method == "gptq" for _, f in d.assignments["net"].layers))
    measured = Evaluator(make_task())(design.assignments["net"])
    assert measured.value == pytest.approx(design.quality["net"].value)
