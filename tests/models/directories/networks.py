"""Directories as transformers writes them, with small networks of random weights, a tokenizer and data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import nn

TEXT_FILE = "One two three, four five six; seven eight or nine? Ten! " * 12
VOCABULARY = 260  # of the networks; the tokenizer has a token for each byte
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
GROUPED = SMALL | {"num_key_value_heads": 2, "head_dim": 8}
# class of the network and what its configuration is given
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", GROUPED),
    "qwen3": ("Qwen3ForCausalLM", GROUPED | {"tie_word_embeddings": True}),
    "gemma3": (
        "Gemma3ForCausalLM",
        GROUPED | {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "mixtral": ("MixtralForCausalLM", GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "gpt2": (
        "GPT2LMHeadModel",
        {
            "n_embd": 32,
            "n_layer": 2,
            "n_head": 4,
            "vocab_size": VOCABULARY,
            "n_positions": 64,
            "bos_token_id": 0,
            "eos_token_id": 0,
        },
    ),
    "t5": (
        "T5ForConditionalGeneration",
        {"d_model": 32, "d_ff": 64, "d_kv": 8, "num_layers": 2, "num_heads": 4, "vocab_size": VOCABULARY},
    ),
    "vit": (
        "ViTForImageClassification",
        {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
        | {"image_size": 32, "patch_size": 8, "num_labels": 10},
    ),
    "bert": ("BertModel", SMALL),
    "masked": ("BertForMaskedLM", SMALL),
    "clip": ("CLIPTextModel", SMALL),
}


def write_network(folder: Path, kind: str, **changes: Any) -> nn.Module:
    """Write a network into a folder with its tokenizer; a text encoder's lies beside it, as diffusers keeps it."""
    import transformers

    cls, given = NETWORKS[kind]
    made = getattr(transformers, cls)
    torch.manual_seed(0)
    module: nn.Module = made(made.config_class(**given | changes)).eval()
    for parameter in module.parameters():  # the usual deviation of 0.02 hides what a layer does
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.15)
    module.save_pretrained(folder)
    if kind == "clip":
        write_tokenizer(folder.parent / "tokenizer")
    elif kind != "vit":
        write_tokenizer(folder)
    return module


def write_tokenizer(folder: Path) -> None:
    """A token for each byte."""
    folder.mkdir(parents=True, exist_ok=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    found = Tokenizer(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    found.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))


def write_images(folder: Path, count: int = 8, size: int = 40) -> None:
    """Smooth pictures of random colours."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        small = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
        small.resize((size, size - 4), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
