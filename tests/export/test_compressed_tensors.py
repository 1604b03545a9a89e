"""A checkpoint in compressed-tensors holds what was scored, and the library opens it and computes with that.

Each export compares codes, scales and outputs itself, and fails otherwise; here stands that what it compares is real.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from codesign.errors import CodesignError, InputError
from codesign.export import compressed_tensors as exporter
from codesign.export.compressed_deviations import TARGET, least_db
from codesign.export.compressed_schemes import scheme_of
from codesign.export.directories import is_untied
from codesign.export.scored import ScoredNetwork
from codesign.formats import get_format
from codesign.models import load_task
from codesign.models.custom import CustomTask
from codesign.models.directories import TaskOptions
from codesign.models.preparation import prepared_by
from codesign.quality import Evaluator
from codesign.targets import get_target
from examples.public import perplexity
from tests.export.networks import export, scored
from tests.models.directories.networks import TEXT_FILE, write_network

pytest.importorskip("compressed_tensors", reason="codesign[compressed-tensors] is not installed")
from transformers import AutoModelForCausalLM, AutoTokenizer

SEQUENCES, LENGTH = 2, 16
MIXED = {
    "q_proj": "int8",
    "k_proj": "int8",
    "v_proj": "int8",
    "o_proj": "fp8_e4m3:fp8_e4m3_token",
    "gate_proj": "int4_g128:fp32",
    "up_proj": "int4_g128:fp32",
    "down_proj": "int4_g32:int8_token",
}
FOURS = MIXED | {"o_proj": "mxfp4:mxfp4_even", "down_proj": "nvfp4", "0.mlp.down_proj": "mxfp8_e4m3:mxfp8_e4m3_rceil"}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    write_network(
        folder / "net", "llama", hidden_size=128, intermediate_size=128, head_dim=32, tie_word_embeddings=True
    )
    (folder / "words.txt").write_text(TEXT_FILE)
    return folder / "net"


@pytest.fixture(scope="module")
def llama(directory: Path) -> Evaluator:
    text = str(directory.parent / "words.txt")
    options = TaskOptions(data=text, calibration=text, sequences=SEQUENCES, length=LENGTH)
    return Evaluator(load_task(f"transformers:{directory}", options=options))


def written(network: ScoredNetwork, directory: Path, folder: Path) -> dict[str, object]:
    export(exporter.NAME, network, f"transformers:{directory}", folder)
    found: dict[str, object] = json.loads((folder / "PROVENANCE.json").read_text())
    return found


def test_a_mixed_design_is_a_transformers_directory_again(llama: Evaluator, directory: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    found = written(scored(llama, MIXED, "int8_g32:int8_token"), directory, folder)
    assert found["proof"]["layers"] == 15  # type: ignore[index]
    assert "compressed-tensors" in found["versions"]  # type: ignore[operator]
    config = json.loads((folder / "config.json").read_text())
    assert config["quantization_config"]["format"] == "mixed-precision"
    assert len(config["quantization_config"]["config_groups"]) == 5
    assert config["dtype"] == "float32"
    assert AutoTokenizer.from_pretrained(folder)("ten")["input_ids"]
    module = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    prompt = torch.arange(8)[None]
    assert module.generate(prompt, max_new_tokens=4, do_sample=False).shape == (1, 12)


def test_the_perplexity_of_a_directory_is_the_one_that_was_scored(
    llama: Evaluator, directory: Path, tmp_path: Path
) -> None:
    network = scored(llama, {}, "int4_g32:fp32")
    written(network, directory, tmp_path / "out")
    tokens = perplexity.scored_windows(
        AutoTokenizer.from_pretrained(directory), directory.parent / "words.txt", SEQUENCES, LENGTH
    )
    module = AutoModelForCausalLM.from_pretrained(tmp_path / "out", local_files_only=True)
    found = perplexity.perplexity(lambda ids: module(input_ids=ids).logits, tokens)
    wanted, other = (
        next(each.value for each in llama.metrics(each.assignment) if each.metric == "perplexity")
        for each in (network, scored(llama, {}, "int8"))
    )
    assert found == pytest.approx(wanted, rel=1e-4)
    assert found != pytest.approx(other, rel=1e-4)


def test_formats_of_four_and_eight_bits_in_blocks_are_held(llama: Evaluator, directory: Path, tmp_path: Path) -> None:
    network = scored(llama, {"lm_head": "bf16:fp32"} | FOURS, "nvfp4")
    found = written(network, directory, tmp_path / "out")
    assert any("bfloat16" in said for said in found["deviations"])  # type: ignore[attr-defined]
    held = load_file(tmp_path / "out" / "model.safetensors")
    codes = network.weight("model.layers.1.mlp.down_proj").codes
    packed = held["model.layers.1.mlp.down_proj.weight_packed"]
    assert torch.equal(torch.stack([packed & 15, packed >> 4], -1).flatten(1), codes.to(torch.uint8))


def test_a_head_that_is_quantized_is_no_longer_tied(llama: Evaluator, directory: Path, tmp_path: Path) -> None:
    written(scored(llama, {"lm_head": "fp32"}, "int8"), directory, tmp_path / "tied")
    written(scored(llama, {"lm_head": "int8"}, "int8"), directory, tmp_path / "own")
    ties = [
        json.loads((tmp_path / each / "config.json").read_text())["tie_word_embeddings"] for each in ("tied", "own")
    ]
    assert ties == [True, False]
    assert "lm_head.weight" not in load_file(tmp_path / "tied" / "model.safetensors")


def test_a_prepared_network_keeps_a_head_of_its_own(llama: Evaluator, directory: Path, tmp_path: Path) -> None:
    prepared = Evaluator(prepared_by(copy.deepcopy(llama.task), ["fold", "rotate"]))
    assert is_untied(prepared.task.module)
    assert not is_untied(llama.task.module)
    written(scored(prepared, {}, "int4_g32:fp32"), directory, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"] is False


def test_a_large_network_is_written_in_shards(
    llama: Evaluator, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "write_shards", partial(exporter.write_shards, most=100_000))
    written(scored(llama, {}, "int8_g32:fp32"), directory, tmp_path / "out")
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    files = sorted(tmp_path.glob("out/*.safetensors"))
    assert {file.name for file in files} == set(index["weight_map"].values())
    assert len(files) > 2


PAIRS = [
    f"{weight}:{activation}"
    for row in get_target(TARGET).formats
    if "linear" in row.kinds
    for weight in row.weights
    for activation in (*row.activations, *row.approximated)
    if not (get_format(weight).is_cast or "g64" in weight or activation == "fp16")
]


@pytest.fixture(scope="module")
def linear() -> Evaluator:
    torch.manual_seed(0)
    x = torch.randn(8, 4, 128)
    module = nn.Sequential(nn.Linear(128, 16), nn.Linear(16, 16, bias=False))
    return Evaluator(CustomTask("net", module, x[:4], x[4:], None), ranges="minmax")


@pytest.mark.parametrize("pair", PAIRS)
def test_each_row_of_the_target_computes_what_was_scored(linear: Evaluator, pair: str, tmp_path: Path) -> None:
    network = scored(linear, {"0": pair}, "fp32")
    found = export(exporter.NAME, network, "python:net", tmp_path / "out")
    scheme = scheme_of(network.layers["0"])
    assert scheme is not None
    least = least_db(network, "0", scheme)
    assert found["sqnr_db"] is not None
    assert found["sqnr_db"] >= min(least, exporter.EXACT_DB)
    if least < 40:
        assert found["deviations"]


def test_a_module_is_opened_with_the_library_alone(linear: Evaluator, tmp_path: Path) -> None:
    network = scored(linear, {"0": "int4_g32:fp32"}, "fp8_e4m3:fp32")
    export(exporter.NAME, network, "python:net", tmp_path / "out")
    opened = exporter.load_compressed(tmp_path / "out", network.module)
    assert torch.equal(opened.get_parameter("0.weight"), network.values("0"))
    assert torch.equal(network.module.get_parameter("0.weight"), linear.task.module.get_parameter("0.weight"))


@pytest.fixture
def tampered(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Changes a tensor after it was written."""

    def change(name: str) -> None:
        write = exporter.write_shards

        def wrong(folder: Path, *args: object) -> list[Path]:
            (file,) = write(folder, *args)  # type: ignore[arg-type]
            tensors = load_file(file)
            tensors[name].view(torch.uint8).flatten()[0] ^= 1
            save_file(tensors, file, metadata={"format": "pt"})
            return [file]

        monkeypatch.setattr(exporter, "write_shards", wrong)

    return change


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("0.weight_packed", "1 of 2,048 codes differ"),
        ("0.weight_scale", "1 of 64 scales"),
        ("1.weight", "weights diff"),
    ],
)
def test_a_file_that_holds_something_else_is_no_export(
    linear: Evaluator, tampered: Callable[[str], None], name: str, says: str, tmp_path: Path
) -> None:
    tampered(name)
    with pytest.raises(CodesignError, match=says):
        export(exporter.NAME, scored(linear, {"0": "int4_g32:fp32"}, "fp32"), "python:net", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_layer_that_rounds_its_input_otherwise_is_no_export(linear: Evaluator, tmp_path: Path) -> None:
    network = scored(linear, {"0": "int8"}, "fp32")
    layer = network.layers["0"]
    wrong = replace(layer.operands["input"], range=0.5)
    network.layers["0"] = replace(layer, operands={"input": wrong})
    with pytest.raises(CodesignError, match="layer '0': on the input that was scored"):
        export(exporter.NAME, network, "python:net", tmp_path / "out")


def test_what_is_no_linear_layer_is_refused_by_name(tiny: CustomTask, tmp_path: Path) -> None:
    evaluator = Evaluator(tiny)
    with pytest.raises(InputError, match="layer 'conv': vllm has no format 'int8' for the weight of this conv layer"):
        export(exporter.NAME, scored(evaluator, {}, "int8"), "python:net", tmp_path / "out")
    with pytest.raises(InputError, match="no layer has a quantized weight"):
        export(exporter.NAME, scored(evaluator, {}, "fp32"), "python:net", tmp_path / "out")
    found = export(exporter.NAME, scored(evaluator, {"conv": "bf16:fp32"}, "int8"), "python:net", tmp_path / "out")
    assert found["opened_by"] == exporter.NAME


@pytest.mark.slow
def test_the_bundled_language_model_comes_back(tmp_path: Path) -> None:
    network = scored(Evaluator(load_task("rewrite"), ranges="minmax"), FOURS, "int4_g32:fp32")
    found = export(exporter.NAME, network, "rewrite", tmp_path / "out")
    assert found["layers"] == 41
