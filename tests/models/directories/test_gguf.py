"""A language model in one GGUF file, which holds its sizes, its tokenizer and its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from codesign.cli import main
from codesign.errors import InputError
from codesign.models import load_task
from codesign.models.custom import CustomTask
from codesign.models.directories import TaskOptions
from tests.models.directories.networks import NETWORKS, TEXT_FILE, write_network

gguf = pytest.importorskip("gguf", reason="GGUF files are written and read with gguf (pip)")

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def gguf_name(name: str) -> str:
    name = name.replace("model.layers.", "blk.")
    for ours, theirs in NAMES.items():
        name = name.replace(ours, theirs)
    return name


def interleaved(weight: Tensor, heads: int) -> Tensor:
    """Rows of queries or keys in the order in which llama.cpp rotates them."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def write_gguf(file: Path, module: nn.Module, tokenizer: dict[str, Any]) -> None:
    """Matrices as Q8_0, blocks of 32 with a scale each; norms as float32."""
    sizes = NETWORKS["llama"][1]
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(sizes["max_position_embeddings"])
    writer.add_embedding_length(sizes["hidden_size"])
    writer.add_block_count(sizes["num_hidden_layers"])
    writer.add_feed_forward_length(sizes["intermediate_size"])
    writer.add_head_count(sizes["num_attention_heads"])
    writer.add_head_count_kv(sizes["num_key_value_heads"])
    writer.add_rope_dimension_count(sizes["head_dim"])
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(sizes["vocab_size"])
    tokens = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].__getitem__)
    tokens.append("".join(tokens[40:42]))
    tokens += [f"<unused{n}>" for n in range(sizes["vocab_size"] - len(tokens))]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * len(tokens))
    writer.add_token_merges([f"{tokens[40]} {tokens[41]}"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    for name, weight in module.state_dict().items():
        heads = {"q_proj": sizes["num_attention_heads"], "k_proj": sizes["num_key_value_heads"]}
        found = next((interleaved(weight, n) for key, n in heads.items() if key in name), weight).numpy()
        kind = gguf.GGMLQuantizationType.Q8_0 if found.ndim > 1 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(gguf_name(name), gguf.quants.quantize(found, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def of_eight_bits(weight: Tensor) -> Tensor:
    """What Q8_0 holds: for 32 elements the largest magnitude over 127, in float16."""
    blocks = weight.reshape(-1, 32)
    scale = blocks.abs().amax(1, keepdim=True) / 127
    return ((blocks / scale).round() * scale.half().float()).reshape(weight.shape)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network as transformers writes it; beside it the same in one file."""
    folder = tmp_path_factory.mktemp("gguf") / "plain"
    module = write_network(folder, "llama")
    (folder.parent / "small").mkdir()
    write_gguf(folder.parent / "small" / "tiny.gguf", module, json.loads((folder / "tokenizer.json").read_text()))
    (folder.parent / "words.txt").write_text(TEXT_FILE)
    return folder


@pytest.mark.parametrize("place", ["small", "small/tiny.gguf"])
def test_a_file_is_the_network_that_its_codes_stand_for(plain: Path, place: str) -> None:
    options = TaskOptions(data="words.txt", sequences=2, length=16)
    ours, theirs = (
        load_task(f"transformers:{name}", search_path=plain.parent, options=options) for name in (place, "plain")
    )
    assert isinstance(ours, CustomTask)
    state = theirs.module.state_dict()
    for name, weight in ours.module.state_dict().items():
        expected = of_eight_bits(state[name]) if weight.ndim > 1 else state[name]
        assert weight.dtype == torch.float32
        assert torch.allclose(weight, expected, atol=1e-4), name
    tokens = [np.asarray(batch.inputs["input_ids"]) for task in (ours, theirs) for batch in task.evaluation]
    assert all(np.array_equal(a, b) for a, b in zip(tokens[:2], tokens[2:], strict=True))
    assert ours.workload().repeats["prefill"] == 1


@pytest.mark.slow
def test_a_file_is_searched(plain: Path, tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(
        f"""
name: gguf
tasks:
  net: {{task: "transformers:{plain.parent}/small", data: {plain.parent}/words.txt, sequences: 2, length: 16}}
pairs: [int8, mxfp4]
objectives: [net.quality, net.weight_bytes]
search: {{evaluations: 3, batch: 2, front_size: 4}}
"""
    )
    assert main(["search", str(file), "--out", str(tmp_path / "study")]) == 0


def test_one_of_several_files_is_named(plain: Path, tmp_path: Path) -> None:
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(InputError, match=r"holds 2 GGUF files: name one, such as transformers:.*a\.gguf"):
        load_task(f"transformers:{tmp_path}")


def test_a_damaged_file_is_one_line(plain: Path, tmp_path: Path) -> None:
    whole = (plain.parent / "small" / "tiny.gguf").read_bytes()
    (tmp_path / "half.gguf").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"half\.gguf' cannot be read: ") as caught:
        load_task(f"transformers:{tmp_path}")
    assert len(str(caught.value).splitlines()) == 1


def test_another_file_is_no_network(plain: Path) -> None:
    with pytest.raises(InputError, match=r"is a file; give the directory that holds config\.json, or a \.gguf file"):
        load_task(f"transformers:{plain / 'model.safetensors'}")
