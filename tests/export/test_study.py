"""A design leaves with the network that was measured, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import codesign
from codesign.errors import InputError
from codesign.export.study import read_design

NETWORK = """
import json
from pathlib import Path
import torch

def task():
    seeds = json.loads(Path(__file__).with_name("seeds.json").read_text())
    torch.manual_seed(seeds["weights"])
    module = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    torch.manual_seed(seeds["data"])
    return module, torch.randn(8, 8), torch.randn(8, 8), None
"""
SPACE = """
name: changed
tasks: {net: {task: "python:changing:task"}}
pairs: [int8, fp8_e4m3]
objectives: [net.quality, net.weight_bytes]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network, a space, and a study of them."""
    folder = tmp_path_factory.mktemp("changed")
    (folder / "space.yaml").write_text(SPACE)
    (folder / "changing.py").write_text(NETWORK)
    write(folder)
    codesign.search(folder / "space.yaml", folder / "study", evaluations=2)
    return folder


def write(folder: Path, weights: int = 0, data: int = 1) -> None:
    (folder / "seeds.json").write_text(json.dumps({"weights": weights, "data": data}))


def loaded(folder: Path) -> codesign.Task:
    design = read_design(folder / "study", codesign.load_study(folder / "study").front[0].id)
    return design.load("net")


def test_the_network_that_was_measured_is_loaded(folder: Path) -> None:
    write(folder)
    assert loaded(folder).name == "net"


@pytest.mark.parametrize(("changed", "said"), [({"weights": 5}, "other weights"), ({"data": 5}, "other data")])
def test_another_network_is_refused_by_what_differs(folder: Path, changed: dict[str, int], said: str) -> None:
    write(folder, **changed)
    with pytest.raises(InputError, match=f"'net' has {said} than when it was measured"):
        loaded(folder)
