"""Names of layers in a space file: those that look like numbers need no quotes, and stay as they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from codesign.errors import InputError
from codesign.search import load_space
from codesign.yamlio import Written, load_yaml
from tests.search import SPACE

NETWORK = """
import torch
from torch import nn

def task():
    torch.manual_seed(0)
    inner = nn.Sequential(*[nn.Linear(8, 8) if i == 10 else nn.ReLU() for i in range(11)])
    net = nn.Sequential(nn.Linear(8, 8), inner, nn.Linear(8, 8)).eval()
    return net, torch.randn(8, 8), torch.randn(8, 8), None
"""


class Named(Written):
    names: dict[str, int]


def space(folder: Path, more: str) -> Path:
    (folder / "numbered_network.py").write_text(NETWORK)
    path = folder / "space.yaml"
    path.write_text(SPACE.replace('task: "python:tests.tiny:task"', f'task: "python:numbered_network:task", {more}'))
    return path


def test_keys_are_text_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "named.yaml"
    path.write_text("names: {0: 1, 1.10: 2, null: 3, true: 4, 1e3: 5, no: 6, 2026-11-28: 7, <<: {010: 8}}\n")
    found = load_yaml(path, Named).names
    assert found == {"0": 1, "1.10": 2, "null": 3, "true": 4, "1e3": 5, "no": 6, "2026-11-28": 7, "010": 8}


def test_layers_with_the_names_that_sequences_give_need_no_quotes(tmp_path: Path) -> None:
    found = load_space(space(tmp_path, "layers: {0: [int8], 1.10: [mxfp4]}, ties: [[0, 2]]"))
    network, int8, mxfp4 = found.networks["tiny"], {"int8:int8"}, {"mxfp4:mxfp4+gptq"}
    allowed = [{str(found.pairs[i]) for i in row.nonzero()[0]} for row in network.allowed]
    assert dict(zip(network.workload.layers, allowed, strict=True)) == {"0": int8, "1.10": mxfp4, "2": int8}


def test_a_tied_name_that_a_number_does_not_keep_is_asked_for_in_quotes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ties.*: expected text, found 1\.1: put it in quotes"):
        load_space(space(tmp_path, "ties: [[0, 1.10]]"))
