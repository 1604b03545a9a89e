"""Rules of runtimes: which formats a layer may have there, and which layers are one matrix."""

from __future__ import annotations

from itertools import product

import pytest

from codesign.errors import InputError
from codesign.export.registry import OWN
from codesign.formats import FormatPair, format_names, get_format
from codesign.targets import Layer, get_target, target_names
from codesign.targets.target import check_layers, check_target, usual_fuses

LINEAR = Layer("model.layers.0.mlp.up_proj", "linear", "ff_up", frozenset({96}))


def layer(name: str, role: str, run: int = 96) -> Layer:
    return Layer(name, "linear", role, frozenset({run}))


@pytest.mark.parametrize("name", target_names())
def test_every_target_says_where_its_rules_come_from_and_has_a_format_that_loads(name: str) -> None:
    target = get_target(name)
    assert target.name == name
    assert all((target.about, target.source, target.version, target.exporter))
    pairs = [FormatPair(w, a) for row in target.formats for w, a in product(row.weights, row.activations)]
    assert any(target.refusal(LINEAR, pair) is None for pair in pairs)


def test_a_refusal_says_what_the_runtime_has() -> None:
    refusal = get_target("vllm").refusal(LINEAR, FormatPair("int3_g32", "bf16"))
    assert refusal is not None
    assert "int3_g32" in refusal
    assert "int4_g32" in refusal


def test_the_rule_that_found_a_weights_scales_does_not_matter_since_files_hold_scales() -> None:
    target = get_target("llama.cpp")
    names = [name for name in format_names() if target.refusal(LINEAR, FormatPair(name, "int8_g32_absmax")) is None]
    assert "int4_g32" in names
    for name in names:
        for rule in get_format(name).rules:
            other = get_format(name).with_rule(rule).name
            assert target.refusal(LINEAR, FormatPair(other, "int8_g32_absmax", "gptq")) is None


def test_blocks_must_be_whole_where_the_runtime_has_no_shorter_ones() -> None:
    ragged = layer("fc", "other", run=80)
    refusal = get_target("llama.cpp").refusal(ragged, FormatPair("int4_g32", "int8_g32_absmax"))
    assert refusal is not None
    assert "80 inputs are no multiple of the 32" in refusal


def test_what_is_computed_in_a_coarser_format_is_exported_and_not_proposed() -> None:
    target = get_target("llama.cpp")
    row = next(row for row in target.formats if row.approximated)
    activation, instead = next(iter(row.approximated.items()))
    pair = FormatPair(row.weights[0], activation)
    attended = Layer("x", row.kinds[0], "other", frozenset({96}))
    assert target.refusal(attended, pair) is not None
    assert target.refusal(attended, pair, approximated=True) is None
    assert target.instead(attended, pair) == instead


def test_layers_that_vllm_holds_as_one_matrix_need_one_format() -> None:
    layers = {
        each.name: each
        for each in (
            layer("model.layers.0.self_attn.q_proj", "attention_q"),
            layer("model.layers.0.self_attn.k_proj", "attention_k"),
            layer("model.layers.1.self_attn.q_proj", "attention_q"),
        )
    }
    target = get_target("vllm")
    assert target.fused(layers.values()) == [tuple(layers)[:2]]
    one, other = FormatPair("int4_g32", "bf16"), FormatPair("int8", "bf16")
    check_layers(target, layers, dict(zip(layers, (one, one, other), strict=True)))
    with pytest.raises(InputError, match=r"one matrix.*q_proj int4_g32:bf16.*k_proj int8:bf16"):
        check_layers(target, layers, dict(zip(layers, (one, other, other), strict=True)))


def test_experts_of_one_layer_share_a_format_in_vllm() -> None:
    names = [f"model.layers.{n}.mlp.experts.{e}.{p}_proj" for n in (0, 1) for e in (0, 1) for p in ("up", "down")]
    layers = [layer(name, f"ff_{name.rpartition('.')[2].removesuffix('_proj')}") for name in names]
    assert get_target("vllm").fused(layers) == [tuple(names[:4]), tuple(names[4:])]
    assert get_target("torchao").fused(layers) == []


def test_a_refused_layer_is_named_with_the_targets_that_can_hold_it() -> None:
    pair = FormatPair("mxfp4", "int8_g32_absmax")
    with pytest.raises(InputError, match=r"layer 'model.layers.0.mlp.up_proj'.*llama.cpp can hold it"):
        check_layers(get_target("tensorrt"), {LINEAR.name: LINEAR}, {LINEAR.name: pair})


def test_only_what_every_runtime_fuses_is_tied_without_a_target() -> None:
    for row in usual_fuses():
        assert all(any(set(row) <= set(other) for other in get_target(name).fuses) for name in target_names())


def test_an_unknown_target_is_answered_with_the_nearest() -> None:
    assert check_target("none") == "none"
    with pytest.raises(InputError, match="did you mean 'vllm'"):
        check_target("vlm")


def test_every_target_names_an_exporter_that_exists() -> None:
    assert {get_target(name).exporter for name in target_names()} <= set(OWN)
