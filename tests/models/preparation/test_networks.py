"""Networks of others, and the two that are bundled: what is matched in each of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from codesign.models import rewrite
from codesign.models.custom import CustomTask
from codesign.models.restore import RestoreTask
from codesign.models.rewrite import RewriteTask
from tests.models.preparation.networks import checked, language_model, modules, reasons, shaken


@pytest.fixture(scope="module")
def rewriting() -> RewriteTask:
    return rewrite.load()


@pytest.mark.slow
def test_all_of_rewrite_is_folded_and_rotated(rewriting: RewriteTask) -> None:
    made, found = checked(rewriting, "rotate", "equalize")
    kinds = [match.what for match in found.matches]
    assert kinds.count("gain into the layers that read it") == 11
    assert kinds.count("residual stream of 128 channels") == 1
    assert kinds.count("values in heads of 32") == 5
    assert sum(match.step == "equalize" for match in found.matches) == 10
    assert not any(each.step == "rotate" for each in found.unmatched)
    assert made.workload().layers == rewriting.workload().layers
    part = made.part()
    assert part is not None
    assert part.task.module is made.module


@pytest.mark.slow
def test_restore_is_prepared_in_its_attentions(restore_task: RestoreTask) -> None:
    _, found = checked(restore_task, "fold", "equalize", "rotate")
    assert ("mid.attn.norm", "mid.attn.to_q", "mid.attn.to_k", "mid.attn.to_v") in modules(found.matches)
    for step in ("fold", "equalize", "rotate"):
        assert sum(match.step == step for match in found.matches) == 5
    assert "'silu'" in reasons(found)["norm_out"]


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("Llama", {"attention_bias": True}),
        ("Llama", {"tie_word_embeddings": True, "attn_implementation": "eager"}),
        ("Qwen2", {}),
        ("Qwen3", {"tie_word_embeddings": True}),
    ],
    ids=["llama", "tied", "qwen2", "qwen3"],
)
def test_a_llama_is_rotated_whole(kind: str, more: dict[str, Any]) -> None:
    pytest.importorskip("transformers", reason="its networks (pip)")
    task = language_model(kind, **more)
    made, found = checked(task, "rotate", "smooth")
    kinds = [match.what for match in found.matches]
    assert kinds.count("gain into the layers that read it") == 5
    assert kinds.count("residual stream of 48 channels") == 1
    assert kinds.count("values in heads of 16") == 2
    assert kinds.count("activations behind a norm") == 5
    assert kinds.count("activations between layers") == 4
    assert made.module.lm_head.weight is not made.module.model.embed_tokens.weight


def test_a_layer_norm_network_is_rotated_around_its_mean() -> None:
    pytest.importorskip("transformers", reason="its networks (pip)")
    _, found = checked(language_model("GPT2", n_embd=48, n_layer=2, n_head=4, n_positions=64), "rotate")
    what = {match.what: match.modules for match in found.matches}
    assert {"transformer.wte", "transformer.wpe", "lm_head"} <= set(what["residual stream of 48 channels"])
    assert what["values in heads of 12"] == ("transformer.h.1.attn.c_attn", "transformer.h.1.attn.c_proj")


def test_gemma_keeps_the_norms_behind_its_layers() -> None:
    pytest.importorskip("transformers", reason="its networks (pip)")
    _, found = checked(language_model("Gemma2"), "fold", "equalize", "rotate")
    what = {names[0]: names[1:] for names in modules(found.matches)}
    assert what["model.layers.0.pre_feedforward_layernorm"] == (
        "model.layers.0.mlp.gate_proj",
        "model.layers.0.mlp.up_proj",
    )
    behind = [each.reason for each in found.unmatched if each.module == "model.layers.0.post_attention_layernorm"]
    assert "'add'" in behind[0]
    assert "has a gain or shift" in behind[1]
    assert sum(match.step == "rotate" for match in found.matches) == 2  # values of attention only
    tied = [each.reason for each in found.unmatched if each.module == "model.norm"]
    assert "is used by 'embedding'" in tied[0]


def test_a_diffusion_network_is_prepared_in_its_transformers() -> None:
    pytest.importorskip("diffusers", reason="its network (pip)")
    from tests.models.directories.diffusers_tiny import unet

    generator = torch.Generator().manual_seed(0)
    data = {
        "sample": torch.randn(2, 4, 8, 8, generator=generator),
        "timestep": torch.tensor([3.0, 5.0]),
        "encoder_hidden_states": torch.randn(2, 8, 16, generator=generator),
    }
    task = CustomTask("unet", shaken(unet()), data, data, forward=lambda m, x: m(**x, return_dict=False)[0])
    _, found = checked(task, "fold", "equalize", "rotate")
    what = {(match.step, match.modules[0].removeprefix("mid_block.attentions.0.")) for match in found.matches}
    inside = "transformer_blocks.0"
    assert {("fold", "norm"), ("fold", f"{inside}.norm1"), ("fold", f"{inside}.norm3")} <= what
    assert {("equalize", f"{inside}.ff.net.0.proj"), ("equalize", f"{inside}.attn2.to_v")} <= what
    assert ("rotate", f"{inside}.attn1.to_v") in what
    streams = [set(match.modules) for match in found.matches if match.what.startswith("residual stream")]
    ends = {f"mid_block.attentions.0.{name}" for name in ("proj_in", "proj_out")}  # convolutions of one pixel
    assert len(streams) == 4
    assert any(ends <= names for names in streams)
