"""A language model as a GGUF file: the library gguf and llama.cpp hold and compute what was scored."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from codesign.errors import CodesignError, InputError
from codesign.export.gguf import writing
from codesign.export.gguf.blocks import kind_of, packed
from codesign.export.gguf.llama import opened
from codesign.export.networks import NetworkExporter, WrittenNetwork
from codesign.export.origin import Origin
from codesign.export.registry import OWN
from codesign.export.scored import ScoredNetwork
from codesign.formats import Assignment, FormatPair, LayerFormats, get_format
from codesign.models import load_task
from codesign.models.custom import CustomTask
from codesign.models.directories import TaskOptions
from codesign.quality import Evaluator
from codesign.search.space.written import TaskSpec
from codesign.targets import Layer, get_target
from tests.models.directories.networks import TEXT_FILE, write_network

pytest.importorskip("transformers", reason="language models are those of transformers (pip)")
gguf = pytest.importorskip("gguf", reason="GGUF files are written and read with gguf (pip)")

SIZES = {"hidden_size": 128, "intermediate_size": 128, "num_hidden_layers": 1, "head_dim": 32, "vocab_size": 320}
Q8 = "int8_g32_absmax"  # what llama.cpp rounds activations to
MIXED = {  # part of a layer's name -> its pair; attention at the end
    "q_proj": f"int8_g32:{Q8}",
    "k_proj": f"int4_g32:{Q8}",
    "v_proj": f"int4_g128:{Q8}",
    "o_proj": f"mxfp4:{Q8}",
    "gate_proj": f"nvfp4:{Q8}",
    "up_proj": f"int5_g32:{Q8} + gptq",
    "down_proj": "fp16",
    "lm_head": "bf16",
    "": "fp16",
}
TYPES = ["Q8_0", "Q4_0", "Q4_0", "MXFP4", "NVFP4", "Q5_0", "F16", "BF16"]
MERGES = [("o", "n"), ("on", "e"), ("Ġ", "t"), ("e", "r"), ("Ġt", "e"), ("Ġte", "n"), ("1", "2")]
TEXT = "One two, ten's done: it is 1234 in the end.\n\n  Tender\tzone"
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False)


def write_tokenizer(folder: Path, steps: list[Any]) -> None:
    """A token for each byte, and some merges."""
    vocabulary = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    for pair in MERGES:
        vocabulary["".join(pair)] = len(vocabulary)
    found = Tokenizer(models.BPE(vocabulary, MERGES))
    found.pre_tokenizer = pre_tokenizers.Sequence(steps)
    found.decoder = decoders.ByteLevel()
    found.add_special_tokens(["<end>"])
    found.save(str(folder / "tokenizer.json"))
    content = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<end>", "bos_token": "<end>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(content))


def load(folder: Path, name: str) -> CustomTask:
    options = TaskOptions(data="words.txt", sequences=2, length=24)
    found = load_task(f"transformers:{name}", search_path=folder, options=options)
    assert isinstance(found, CustomTask)
    return found


def scored(task: CustomTask, pairs: dict[str, str]) -> ScoredNetwork:
    """A network in the pair of the first part that its layers' names have."""
    layers = {}
    for name, kind in task.workload().layer_kinds().items():
        pair = FormatPair.parse(next(pair for part, pair in pairs.items() if part in name))
        layers[name] = LayerFormats.of_pair(pair, attention=kind == "attention")
    return ScoredNetwork(task, Assignment.of(layers), Evaluator(task))


def export(network: ScoredNetwork, folder: Path, name: str, out: str = "out") -> WrittenNetwork:
    exporter = OWN["gguf"]
    assert isinstance(exporter, NetworkExporter)
    return exporter.write(network, Origin("s", "d", "net", TaskSpec(task=f"transformers:{name}"), folder), folder / out)


def tensors(file: Path) -> dict[str, Any]:
    return {each.name: each for each in gguf.GGUFReader(file).tensors}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks of two kinds, and a text."""
    found = tmp_path_factory.mktemp("gguf")
    (found / "words.txt").write_text(TEXT_FILE * 2)
    for kind in ("llama", "qwen3"):
        write_network(found / kind, kind, **SIZES)
        write_tokenizer(found / kind, [BYTES])
    return found


@pytest.fixture(scope="module")
def network(folder: Path) -> ScoredNetwork:
    return scored(load(folder, "llama"), MIXED)


@pytest.fixture(scope="module")
def mixed(folder: Path, network: ScoredNetwork) -> WrittenNetwork:
    return export(network, folder, "llama", "mixed")


@pytest.mark.parametrize("seed", range(3))
def test_a_random_legal_design_loads(folder: Path, network: ScoredNetwork, seed: int) -> None:
    drawn, pairs = random.Random(seed), {}
    for name, layer in network.layers.items():
        row = drawn.choice([each for each in get_target("llama.cpp").formats if layer.kind in each.kinds])
        pairs[name] = f"{drawn.choice(row.weights)}:{drawn.choice([*row.activations, *row.finer])}"
    pairs = dict(sorted(pairs.items(), reverse=True))  # the attention's name is the beginning of its projections'
    assert export(scored(network.task, pairs), folder, "llama", "drawn")["layers"] == len(pairs)


def test_a_mixed_design_has_a_type_for_each_tensor(mixed: WrittenNetwork) -> None:
    found = tensors(Path(mixed["path"]) / "model.gguf")
    parts = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    names = [*(f"blk.0.{part}.weight" for part in parts), "output.weight"]
    assert [found[name].tensor_type.name for name in names] == TYPES
    assert found["token_embd.weight"].tensor_type.name == "F32"
    record = json.loads((Path(mixed["path"]) / "PROVENANCE.json").read_text())
    assert record["proof"]["layers"] == len(TYPES)


@pytest.mark.parametrize("name", ["int4_g32", "int4_g128", "int5_g32", "int8_g32", "mxfp4", "nvfp4"])
def test_the_library_reads_the_numbers_of_a_block(name: str) -> None:
    weight = get_format(name).quantize(torch.randn(3, 128, generator=torch.Generator().manual_seed(0)) * 9, axis=1)
    found = gguf.quants.dequantize(packed(weight), gguf.GGMLQuantizationType[kind_of(weight.format).name])
    outer = 1.0 if weight.tensor_scale is None else float(weight.tensor_scale)
    assert torch.allclose(torch.from_numpy(found) * outer, weight.dequantize(), rtol=1e-6, atol=0)
    assert len(weight.codes.unique()) > 12  # of 16 or more


def test_transformers_reads_the_weights_that_were_scored(folder: Path, network: ScoredNetwork) -> None:
    changed = scored(network.task, MIXED | {"gate_proj": f"int4_g64:{Q8}"})  # transformers knows no outer scale
    export(changed, folder, "llama", "read")
    state = load(folder, "read/model.gguf").module.state_dict()
    for name, layer in changed.layers.items():
        if layer.formats.weight is not None:
            assert torch.equal(state[f"{name}.weight"], changed.values(name)), name
    assert torch.equal(state["model.embed_tokens.weight"], changed.module.get_parameter("model.embed_tokens.weight"))


def test_a_gguf_file_is_exported_with_its_tokenizer(folder: Path) -> None:
    export(scored(load(folder, "llama"), {"": "fp32"}), folder, "llama", "plain")
    again = scored(load(folder, "plain/model.gguf"), {"proj": f"int8_g32:{Q8}", "": "fp32"})
    export(again, folder, "plain/model.gguf", "again")
    first, second = (gguf.GGUFReader(folder / each / "model.gguf").fields for each in ("plain", "again"))
    keys = [key for key in first if key.startswith("tokenizer.")]
    assert "tokenizer.ggml.merges" in keys
    assert all(first[key].contents() == second[key].contents() for key in keys)


@pytest.mark.slow
@pytest.mark.parametrize(("head", "own"), [("fp32", False), (f"int8_g32:{Q8}", True), ("bf16", True)])
def test_a_tied_head_has_a_tensor_of_its_own_if_it_is_rounded(folder: Path, head: str, own: bool) -> None:
    export(scored(load(folder, "qwen3"), {"lm_head": head, "": "fp32"}), folder, "qwen3", "tied")
    assert ("output.weight" in tensors(folder / "tied" / "model.gguf")) is own


@pytest.mark.parametrize(
    ("steps", "name"),
    [([BYTES], "gpt-2"), ([pre_tokenizers.Digits(individual_digits=True), BYTES], "smollm")],
)
def test_llama_cpp_splits_text_as_the_directory_does(folder: Path, steps: list[Any], name: str) -> None:
    write_tokenizer(folder / "llama", steps)
    export(scored(load(folder, "llama"), {"": "fp32"}), folder, "llama", name)
    file = folder / name / "model.gguf"
    assert gguf.GGUFReader(file).fields["tokenizer.ggml.pre"].contents() == name
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    wanted = Tokenizer.from_file(str(folder / "llama" / "tokenizer.json")).encode(TEXT).ids
    with opened(file, 8) as model:
        assert model.tokenize(TEXT.encode(), add_bos=False) == wanted


def test_a_tokenizer_that_llama_cpp_lacks_is_told(folder: Path) -> None:
    write_tokenizer(folder / "llama", [pre_tokenizers.Whitespace(), BYTES])
    told = export(scored(load(folder, "llama"), {"": "fp32"}), folder, "llama", "other")["deviations"]
    assert any("no tokenizer (llama.cpp has no name for how it splits text): give tokens" in each for each in told)


def test_llama_cpp_computes_what_was_scored(mixed: WrittenNetwork) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    assert mixed["opened_by"] == "llama.cpp"
    assert mixed["sqnr_db"] is not None
    assert mixed["sqnr_db"] > 30
    assert [each for each in mixed["deviations"] if "scored in" in each] == []


def test_llama_cpp_in_float_equals_transformers(folder: Path) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    for kind in ("llama", "qwen3"):
        found = export(scored(load(folder, kind), {"": "fp32"}), folder, kind, "float")
        assert found["sqnr_db"] is not None
        assert found["sqnr_db"] > 80


def test_rows_in_another_order_are_found_out(
    folder: Path, network: ScoredNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    for name in ("interleaved", "restored"):
        monkeypatch.setattr(writing, name, lambda rows, heads: rows)
    with pytest.raises(CodesignError, match=r"llama\.cpp computes something else than was scored"):
        export(network, folder, "llama", "wrong")
    assert not (folder / "wrong").exists()


def test_a_wrong_code_is_found_out(folder: Path, network: ScoredNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    def off(weight: Any) -> Any:
        found = packed(weight).copy()
        found[0, -1] ^= 1
        return found

    monkeypatch.setattr(writing, "packed", off)
    with pytest.raises(CodesignError, match=r"layer 'model\.layers\.0\..*: 1 of .* codes differ"):
        export(network, folder, "llama", "wrong")


@pytest.mark.slow
def test_what_llama_cpp_does_not_have_is_refused(folder: Path, tiny: CustomTask) -> None:
    plain = load(folder, "qwen3")
    with pytest.raises(InputError, match=r"llama\.cpp has no format 'int4_g32_zp'"):
        export(scored(plain, {"proj": "int4_g32_zp:fp32", "": "fp32"}), folder, "qwen3")
    with pytest.raises(InputError, match=r"has no activations 'int8' with weights 'fp16'"):
        export(scored(plain, {"up_proj": "fp16:int8", "": "fp32"}), folder, "qwen3")
    write_network(folder / "gemma", "gemma3")
    with pytest.raises(InputError, match=r"of kind 'gemma3_text'; gguf holds .* llama, mistral, qwen2, qwen3"):
        export(scored(load(folder, "gemma"), {"": "fp32"}), folder, "gemma")
    with pytest.raises(InputError, match=r"llama\.cpp holds no conv layer"):
        export(scored(tiny, {"": "fp32"}), folder, "qwen3")
    layer = Layer("net", "linear", "other", frozenset({96}))
    refusal = get_target("llama.cpp").refusal(layer, FormatPair("nvfp4", Q8))
    assert refusal == "llama.cpp needs whole blocks: 96 inputs are no multiple of the 64 of 'nvfp4'"
