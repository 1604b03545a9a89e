"""A space with a deployment target proposes only what its runtime loads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from codesign.cli import main
from codesign.errors import InputError
from codesign.models.custom import CustomTask
from codesign.search import Problem, load_space, open_study
from codesign.search.engine.proposals import distinct, mutants
from codesign.search.engine.scale import AboveFloat
from codesign.search.samplers.registry import strategy_factory
from codesign.search.space.network import Network
from codesign.targets import get_target, layers_of, target_names
from codesign.targets.target import check_layers

PAIRS = (
    "int4_g32:int8_g32_absmax",
    "int8_g32:int8_g32_absmax",
    "int8_g32:int8",
    "int8",
    "int4_g32:bf16",
    "int8:int8_token",
    "fp8_e4m3",
    "mxfp4:mxfp8_e4m3",
    "fp16",
    "bf16",
)


class Block(nn.Module):
    """What a transformer's block calls its layers, and one whose inputs are no multiple of 32."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn, self.mlp = nn.Module(), nn.Module()
        for name in ("q_proj", "k_proj", "v_proj"):
            self.self_attn.add_module(name, nn.Linear(32, 32))
        for name in ("gate_proj", "up_proj"):
            self.mlp.add_module(name, nn.Linear(32, 48))
        self.mlp.add_module("down_proj", nn.Linear(48, 32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (self.self_attn.get_submodule(name)(x) for name in ("q_proj", "k_proj", "v_proj"))
        y = x + nn.functional.scaled_dot_product_attention(q, k, v)
        gate, up = self.mlp.get_submodule("gate_proj")(y), self.mlp.get_submodule("up_proj")(y)
        out: torch.Tensor = y + self.mlp.get_submodule("down_proj")(gate.sigmoid() * up)
        return out


def make_task() -> CustomTask:
    torch.manual_seed(0)
    x = torch.randn(8, 4, 32)
    return CustomTask("net", nn.Sequential(Block(), Block()), x[:4], x[4:], None)


def written(folder: Path, target: str, *, pairs: tuple[str, ...] = PAIRS, task: str = "") -> Path:
    (folder / "net.py").write_text("from tests.search.test_targets import make_task as task\n")
    path = folder / "space.yaml"
    path.write_text(
        f"name: {folder.name}\n{target}\ntasks:\n  net: {{task: 'python:net:task'{task}}}\n"
        f"pairs: [{', '.join(pairs)}]\nobjectives: [net.quality, net.weight_bytes]\nsearch: {{evaluations: 4}}\n"
    )
    return path


def legal(name: str, network: Network, choice: np.ndarray) -> None:
    """Raise InputError unless a choice is one that the runtime loads without an approximation."""
    layers = layers_of(network.workload)
    pairs = {layer: network.pairs[c] for layer, c in zip(network.layers, choice, strict=True)}
    check_layers(get_target(name), layers, pairs)
    assert all(get_target(name).refusal(layers[layer], pair) is None for layer, pair in pairs.items())


@pytest.mark.slow
@pytest.mark.parametrize("name", target_names())
def test_of_200_proposals_none_is_illegal(tmp_path: Path, name: str) -> None:
    space = load_space(written(tmp_path, f"target: {name}"))
    study, network = open_study(space, tmp_path / "study"), space.networks["net"]
    losses = np.random.default_rng(0).lognormal(-5, 2, network.allowed.shape)
    table = np.where(network.allowed, losses, np.inf)
    scales = {"net": AboveFloat(network.task, 0.0, 1e-9)}
    problem = Problem(space, study.combiner, {"net": table}, np.full(2, 1e9), scales, {}, 0, 50)
    proposals = strategy_factory("random")(problem).propose(100, [])
    proposals += strategy_factory("codesign")(problem).propose(100, proposals)
    rows = np.array([proposal.choices["net"] for proposal in proposals])
    varied = mutants(study.combiner, rows, network.allowed, network.groups, np.random.default_rng(0))
    choices = distinct(np.concatenate([rows, varied[: 400 - len(rows)]]))
    assert len(choices) >= 200
    for choice in choices:
        legal(name, network, choice)


def test_a_task_may_have_a_target_of_its_own(tmp_path: Path) -> None:
    free = load_space(written(tmp_path, "target: vllm", task=", target: none")).networks["net"]
    assert free.allowed.all()
    assert not free.ties
    bound = load_space(written(tmp_path, "target: none", task=", target: vllm")).networks["net"]
    assert not bound.allowed.all()
    assert [[bound.layers[i] for i in tie] for tie in bound.ties] == [
        [f"{i}.{part}" for part in parts]
        for i in (0, 1)
        for parts in (
            ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            ("mlp.gate_proj", "mlp.up_proj"),
        )
    ]


def test_a_space_without_a_target_keeps_its_hash_and_its_freedom(tmp_path: Path) -> None:
    space = load_space(written(tmp_path, ""))
    assert "target" not in space.content
    assert "target" not in space.content["tasks"]["net"]
    assert space.networks["net"].allowed.all()
    assert load_space(written(tmp_path, "target: vllm")).space_hash != space.space_hash


def test_a_target_that_leaves_a_layer_nothing_says_so_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, "target: llama.cpp", pairs=("fp8_e4m3",))
    with pytest.raises(InputError, match=r"space.yaml:2: target: net: layer '0.self_attn.q_proj'.*fp8_e4m3"):
        load_space(path)


def test_explain_shows_what_a_target_forbids_and_ties(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(written(tmp_path, "target: vllm"))]) == 0
    out = capsys.readouterr().out
    assert "net is for vllm" in out
    assert "what vllm forbids" in out
    assert "4 sets of layers are one matrix there, such as 0.self_attn.q_proj, 0.self_attn.k_proj" in out


def test_a_target_is_refused_where_the_formats_are_given(tmp_path: Path) -> None:
    given = (Path(__file__).parents[2] / "search_spaces" / "sd15_hardware.yaml").read_text()
    (tmp_path / "space.yaml").write_text(given.replace("\ntasks:", "\ntarget: vllm\ntasks:", 1))
    with pytest.raises(InputError, match=r"target: .*means nothing where the formats of every task are given"):
        load_space(tmp_path / "space.yaml")
