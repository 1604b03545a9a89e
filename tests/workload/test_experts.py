"""A mixture of experts stores all of them and reads those that have a token."""

from __future__ import annotations

import random
from dataclasses import replace
from statistics import mean

import pytest

from codesign.formats import Assignment, FormatPair, LayerFormats
from codesign.hardware import cost, load_accelerator
from codesign.workload import Operator, Workload, named_workload
from codesign.workload.networks.experts import expert_loads

ONE = "layers.0.mlp.experts.gate_proj"
MATRIX = 4096 * 14336  # one projection of one expert of Mixtral


def operators(workload: Workload, phase: str, layer: str = ONE) -> list[Operator]:
    return [op for op in workload.operators if (op.phase, op.layer) == (phase, layer)]


def test_a_prefill_shares_its_tokens_among_all_experts() -> None:
    (op,) = operators(named_workload("mixtral-8x7b"), "prefill")
    assert (op.m, op.n, op.k, op.count) == (512 * 2 // 8, 14336, 4096, 8)
    assert (op.stationary_elements, op.idle_elements) == (8 * MATRIX, 0)


def test_a_decode_pass_reads_two_experts_and_leaves_six() -> None:
    (op,) = operators(named_workload("mixtral-8x7b"), "decode")
    assert (op.m, op.count) == (1, 2)
    assert (op.stationary_elements, op.idle_elements) == (2 * MATRIX, 6 * MATRIX)
    assert op.weight_elements == 8 * MATRIX


def test_every_token_of_a_batch_takes_its_experts_in_both_phases() -> None:
    workload = named_workload("mixtral-8x7b:batch=3,prompt=2")
    for phase, tokens in (("prefill", 6), ("decode", 3)):
        found = operators(workload, phase)
        assert sum(op.m * op.count for op in found) == 2 * tokens
        assert {op.weight_elements for op in found} == {8 * MATRIX}


def test_the_active_parameters_of_a_token_are_the_published_ones() -> None:
    """12.9 G of Mixtral (Jiang et al., 2024), 1.3 G of OLMoE (Muennighoff et al., 2024), embeddings counted."""
    for name, embedding, published in (("mixtral-8x7b", 32000 * 4096, 12.9), ("olmoe-1b-7b", 50304 * 2048, 1.3)):
        decode = [op for op in named_workload(name).operators if op.phase == "decode" and not op.is_attention]
        active = sum(op.stationary_elements for op in decode) + embedding
        assert active / 1e9 == pytest.approx(published, abs=0.05)


def test_stored_weights_are_all_experts_however_few_have_a_token() -> None:
    workload = named_workload("mixtral-8x7b:prompt=1,new_tokens=1")
    stored = {op.layer: op.weight_elements for op in workload.operators}
    others = workload.parameters - sum(stored.values())
    assert others == 32000 * 4096 + 65 * 4096  # the embedding and the norms


@pytest.mark.slow
def test_the_chip_stores_all_experts_and_moves_two_a_token() -> None:
    workload = named_workload("mixtral-8x7b:new_tokens=1")
    pair = FormatPair.parse("int4_g32:int8")
    kinds = workload.layer_kinds()
    chosen = {n: LayerFormats.of_pair(pair, attention=k == "attention") for n, k in kinds.items()}
    result = cost(workload, replace(load_accelerator("phone-npu-large"), dram_gib=32), Assignment.of(chosen))
    bytes_each = 4.5 / 8
    assert result.weight_bytes / (workload.parameters * bytes_each) == pytest.approx(1, rel=0.01)
    moved = next(layer.dram_bytes for layer in result.layers if layer.name == ONE.replace("gate", "up"))
    assert moved / (10 * MATRIX * bytes_each) == pytest.approx(1, rel=0.1)  # 8 in the prefill, 2 in the decode pass


@pytest.mark.parametrize(
    ("experts", "taken", "tokens", "expected"),
    [
        (8, 2, 1, [(2, 1)]),
        (8, 2, 512, [(8, 128)]),
        (8, 8, 3, [(8, 3)]),
        (64, 8, 1, [(8, 1)]),
        (8, 2, 4, [(3, 2), (2, 1)]),
    ],
)
def test_loads_are_even_over_the_experts_that_are_expected(
    experts: int, taken: int, tokens: int, expected: list[tuple[int, int]]
) -> None:
    assert expert_loads(experts, taken, tokens * taken) == expected


@pytest.mark.parametrize("tokens", [1, 2, 5, 20])
def test_the_number_of_experts_is_that_of_random_routing(tokens: int) -> None:
    draw = random.Random(0)
    reached = [len({e for _ in range(tokens) for e in draw.sample(range(64), 8)}) for _ in range(500)]
    loads = expert_loads(64, 8, tokens * 8)
    assert sum(n for n, _ in loads) == pytest.approx(mean(reached), abs=1)
    assert sum(n * load for n, load in loads) == tokens * 8
