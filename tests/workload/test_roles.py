"""Roles of layers, and assignments stated by them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from codesign.errors import InputError
from codesign.formats import Assignment, FormatPair, LayerFormats
from codesign.models import load_task
from codesign.workload import Operator, Workload, named_workload
from codesign.workload.catalogue import catalogue
from codesign.workload.role_files import load_rules, write_rules
from codesign.workload.roles import OTHER, RoleRules, known_roles, role_of, roles

INT8, INT4, FP8 = (FormatPair.parse(name) for name in ("int8", "int4", "fp8_e4m3"))
ONE_OF_EACH_KIND = (
    "sd15-unet",
    "sdxl-unet",
    "clip-l-text",
    "openclip-bigg-text",
    "sd15-vae-decoder",
    "sd15-vae-encoder",
    "sd15-inpaint-pipeline",
    "edsr-x4",
    "imdn-x4",
    "llama3.2-1b",
    "gemma-2-2b",
    "olmoe-1b-7b",
)


@pytest.mark.parametrize("name", ONE_OF_EACH_KIND)
def test_every_layer_of_a_named_network_has_a_role(name: str) -> None:
    assert [layer for layer, role in roles(named_workload(name)).items() if role == OTHER] == []


def test_the_networks_above_stand_for_all_kinds_of_the_catalogue() -> None:
    assert {catalogue()[name].kind for name in ONE_OF_EACH_KIND} == {entry.kind for entry in catalogue().values()}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["restore", "rewrite"])
def test_every_layer_of_a_bundled_task_has_a_role(name: str) -> None:
    found = roles(load_task(name).workload())
    assert OTHER not in found.values()
    assert {"restore": "conv_in", "rewrite": "lm_head"}[name] in found.values()


@pytest.mark.parametrize(
    ("layer", "kind", "role"),
    [
        ("conv_in", "conv", "conv_in"),
        ("unet.down_blocks.0.attentions.1.transformer_blocks.0.attn2.to_out.0", "linear", "attention_out"),
        ("unet.down_blocks.0.attentions.1.transformer_blocks.0.attn2", "attention", "attention"),
        ("up_blocks.1.attentions.0.transformer_blocks.0.ff.net.2", "linear", "ff_down"),
        ("mid_block.resnets.0.time_emb_proj", "linear", "time_embedding"),
        ("down_blocks.0.resnets.0.conv1", "conv", "resnet_conv"),
        ("down_blocks.1.resnets.0.conv_shortcut", "conv", "shortcut"),
        ("layers.3.mlp.experts.gate_proj", "linear", "ff_gate"),
        ("layers.3.mlp.gate", "linear", "router"),
        ("classifier.0", "linear", OTHER),
        ("model.head", "linear", OTHER),
        ("head", "conv", "conv_in"),
    ],
)
def test_a_role_follows_from_the_end_of_a_name_and_the_kind(layer: str, kind: str, role: str) -> None:
    assert role_of(layer, kind) == role


def _linear(layer: str, n: int) -> Operator:
    return Operator(layer, "linear", "forward", 4, n, 8, 1, 32, 8 * n, 4 * n)


SMALL = Workload("small", (_linear("a.q_proj", 8), _linear("b.q_proj", 24), _linear("lm_head", 16)), {"forward": 1})
LARGE = Workload("large", (_linear("x.0.q_proj", 8), _linear("x.1.q_proj", 8), _linear("lm_head", 4)), {"forward": 1})


def _assigned(**pairs: FormatPair) -> Assignment:
    layers = {"a.q_proj": pairs["a"], "b.q_proj": pairs["b"], "lm_head": pairs["head"]}
    return Assignment.of({name: LayerFormats.of_pair(pair, attention=False) for name, pair in layers.items()})


def test_a_role_takes_the_pair_of_most_of_its_macs() -> None:
    rules = RoleRules.of(_assigned(a=INT8, b=INT4, head=FP8), SMALL, {"design": "d1"})
    assert rules.rules == {"attention_q": INT4, "lm_head": FP8}
    assert rules.agreement == {"attention_q": 0.75, "lm_head": 1.0}


def test_rules_give_every_layer_of_another_network_the_formats_of_its_role() -> None:
    applied = RoleRules({"attention_q": INT4, "lm_head": FP8}).apply(LARGE)
    assert {layer: str(formats.weight) for layer, formats in applied.layers} == {
        "x.0.q_proj": "int4",
        "x.1.q_proj": "int4",
        "lm_head": "fp8_e4m3",
    }


def test_roles_without_a_rule_are_all_named_or_take_the_default() -> None:
    with pytest.raises(InputError, match=r"no rule for these roles of large: attention_q \(x\.0\.q_proj\); add them"):
        RoleRules({"lm_head": FP8}).apply(LARGE)
    assert dict(RoleRules({"lm_head": FP8}, INT8).apply(LARGE).layers)["x.1.q_proj"].weight == "int8"


def test_rules_of_a_whole_network_applied_to_itself_change_nothing_where_roles_are_uniform() -> None:
    workload = named_workload("llama3.2-1b")
    kinds, by_layer = workload.layer_kinds(), roles(workload)
    pairs = {"ff_down": FP8, "attention": INT4}
    chosen = Assignment.of(
        {
            layer: LayerFormats.of_pair(pairs.get(role, INT8), attention=kinds[layer] == "attention")
            for layer, role in by_layer.items()
        }
    )
    assert RoleRules.of(chosen, workload, {}).apply(workload) == chosen


def test_rules_survive_their_file(tmp_path: Path) -> None:
    assigned = _assigned(a=INT8, b=replace(INT4, method="gptq"), head=FP8)
    rules = RoleRules.of(assigned, SMALL, {"study": "s", "design": "d1", "task": "t"})
    write_rules(tmp_path / "rules.yaml", rules)
    assert load_rules(tmp_path / "rules.yaml") == rules


def test_a_role_keeps_how_its_weights_are_rounded() -> None:
    applied = RoleRules.of(_assigned(a=INT8, b=replace(INT4, method="gptq"), head=FP8), SMALL, {}).apply(LARGE)
    assert {layer: formats.method for layer, formats in applied.layers} == {
        "x.0.q_proj": "gptq",
        "x.1.q_proj": "gptq",
        "lm_head": "nearest",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules: {lm_haed: int8}", r"rules.yaml:1: rules: unknown role 'lm_haed'.*lm_head"),
        ("rules: {lm_head: itn8}", r"rules.yaml:1: rules.lm_head: .*'itn8'"),
        ("rules: {lm_head: int8}\nlabel: measured", r"rules.yaml:2: label"),
        ("rules: {lm_head: int8}\ndefault: fp7", r"rules.yaml:2: default: .*'fp7'"),
    ],
)
def test_a_mistake_in_a_file_of_rules_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_rules(path)


def test_roles_are_named_once_with_other_as_the_last() -> None:
    found = known_roles()
    assert len(found) > 20
    assert len(set(found)) == len(found)
    assert found[-1] == "other"
