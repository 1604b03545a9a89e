"""MACs of public architectures, with random weights and small sizes, are those that torch's own counter finds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from codesign.workload import trace

transformers = pytest.importorskip("transformers", reason="public architectures are those of transformers (pip)")

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 100,
    "max_position_embeddings": 64,
}
GROUPED = SMALL | {"num_key_value_heads": 2, "head_dim": 8}
EXPERTS = GROUPED | {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
IMAGE = {k: SMALL[k] for k in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")} | {
    "image_size": 32,
    "patch_size": 8,
}
TOKENS = {"input_ids": torch.arange(12)[None] % 90}
PIXELS = {"pixel_values": torch.zeros(1, 3, 32, 32)}

# class of the model, what its configuration is given, its inputs
ARCHITECTURES: dict[str, tuple[str, dict[str, Any], dict[str, torch.Tensor]]] = {
    "llama": ("LlamaForCausalLM", GROUPED, TOKENS),
    "qwen3": ("Qwen3ForCausalLM", GROUPED, TOKENS),
    "gemma2": ("Gemma2ForCausalLM", GROUPED, TOKENS),
    "gemma3": ("Gemma3ForCausalLM", GROUPED, TOKENS),
    "phi3": ("Phi3ForCausalLM", GROUPED | {"pad_token_id": 0}, TOKENS),
    "mixtral": ("MixtralForCausalLM", GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2}, TOKENS),
    "qwen3_moe": ("Qwen3MoeForCausalLM", EXPERTS | {"num_experts": 4, "decoder_sparse_step": 1}, TOKENS),
    "olmoe": ("OlmoeForCausalLM", EXPERTS | {"num_experts": 4}, TOKENS),
    "gpt2": (
        "GPT2LMHeadModel",
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 100, "n_positions": 64},
        TOKENS,
    ),
    "gpt_neox": ("GPTNeoXForCausalLM", SMALL, TOKENS),
    "opt": ("OPTForCausalLM", SMALL | {"ffn_dim": 64, "word_embed_proj_dim": 32}, TOKENS),
    "bloom": ("BloomForCausalLM", {"hidden_size": 32, "n_layer": 2, "n_head": 4, "vocab_size": 100}, TOKENS),
    "bert": ("BertModel", SMALL, TOKENS),
    "roberta": ("RobertaModel", SMALL, TOKENS),
    "distilbert": (
        "DistilBertModel",
        {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4, "vocab_size": 100},
        TOKENS,
    ),
    "electra": ("ElectraModel", SMALL | {"embedding_size": 16}, TOKENS),
    "t5": (
        "T5ForConditionalGeneration",
        {"d_model": 32, "d_ff": 64, "d_kv": 8, "num_layers": 2, "num_heads": 4, "vocab_size": 100},
        TOKENS | {"decoder_input_ids": torch.arange(5)[None]},
    ),
    "mamba": (
        "MambaForCausalLM",
        {"hidden_size": 32, "state_size": 8, "num_hidden_layers": 2, "vocab_size": 100},
        TOKENS,
    ),
    "vit": ("ViTModel", IMAGE, PIXELS),
    "deit": ("DeiTModel", IMAGE, PIXELS),
    "beit": ("BeitModel", IMAGE, PIXELS),
    "dinov2": ("Dinov2Model", IMAGE, PIXELS),
    "convnext": ("ConvNextModel", {"hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 2, 1]}, PIXELS),
    "resnet": ("ResNetModel", {"embedding_size": 16, "hidden_sizes": [16, 24, 32, 48], "depths": [1] * 4}, PIXELS),
    "regnet": (
        "RegNetModel",
        {"embedding_size": 16, "hidden_sizes": [16, 32, 48, 64], "depths": [1] * 4, "groups_width": 8},
        PIXELS,
    ),
    "mobilenet_v2": ("MobileNetV2Model", {"depth_multiplier": 0.35, "image_size": 32}, PIXELS),
    "segformer": (
        "SegformerModel",
        {"hidden_sizes": [8, 16, 24, 32], "depths": [1] * 4, "num_attention_heads": [1, 2, 3, 4]},
        PIXELS,
    ),
}


def network(name: str) -> nn.Module:
    kind, given, _ = ARCHITECTURES[name]
    torch.manual_seed(0)
    made = getattr(transformers, kind)
    config = made.config_class(**given, attn_implementation="eager")
    if name in ("mixtral", "qwen3_moe", "olmoe"):
        config._experts_implementation = "eager"  # one product per expert: torch does not count the grouped one
    module: nn.Module = made(config).eval()
    return module


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_macs_are_those_that_torch_counts(name: str) -> None:
    module, inputs = network(name), ARCHITECTURES[name][2]
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        module(**inputs)
    found = trace(module, inputs)
    assert found.macs() == pytest.approx(counted.get_total_flops() / 2, rel=1e-3)
    assert all(elements < 4096 for _, elements in found.unread)


def test_a_trace_is_the_same_each_time() -> None:
    """Whatever memory torch gives to tensors anew."""
    module, inputs = network("t5"), ARCHITECTURES["t5"][2]
    first = trace(module, inputs)
    assert all(trace(module, inputs) == first for _ in range(4))


def test_grouped_experts_are_as_much_work_as_experts_one_by_one() -> None:
    module, inputs = network("mixtral"), TOKENS
    alone = trace(module, inputs)
    module.config._experts_implementation = "grouped_mm"
    grouped = trace(module, inputs)
    assert grouped.macs() == alone.macs()
    assert any("experts" in layer for layer in grouped.layers)
