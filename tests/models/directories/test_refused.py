"""What is wrong with a directory, its data or its options is said in one line, which names the key or the file."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from codesign.cli import main
from tests.inputs.test_cases import PROGRESS
from tests.models.directories.networks import TEXT_FILE, write_network

Written = Callable[[str], Path]
Options = dict[str, Any]


class Case(NamedTuple):
    change: Callable[[Path], Options]  # of a copy of the directory and its neighbours; returns options of the task
    says: str
    kind: str = "llama"
    line: str = "task"  # key whose line is named


def edited(folder: Path, **changes: Any) -> Options:
    """config.json with other values."""
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return {}


def arrays(folder: Path, **found: np.ndarray) -> Options:
    np.savez(folder.parent / "arrays.npz", **found)
    return {"data": "arrays.npz"}


def text(folder: Path, content: str | bytes, **more: Any) -> Options:
    (folder.parent / "text.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
    return {"data": "text.txt", "length": 16, "sequences": 2} | more


def pickled(folder: Path) -> Options:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    return {}


def cut(folder: Path) -> Options:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    return {}


def without(folder: Path, name: str) -> Options:
    (folder / name).unlink()
    return {}


def lacking(folder: Path) -> Options:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return {}


def few_tokens(folder: Path) -> Options:
    """A network that knows fewer tokens than its tokenizer."""
    shutil.rmtree(folder)
    write_network(folder, "llama", vocab_size=100)
    return text(folder, TEXT_FILE)


def pictures(folder: Path, **files: bytes) -> Options:
    (folder.parent / "pictures").mkdir()
    for name, content in files.items():
        (folder.parent / "pictures" / name.replace("_", ".")).write_bytes(content)
    return {"data": "pictures"}


def damaged(folder: Path) -> Options:
    (folder.parent / "arrays.npz").write_bytes(b"PK\x03\x04 no archive")
    return {"data": "arrays.npz"}


IDS = np.arange(64, dtype=np.int64).reshape(4, 16)
MASK = np.ones((4, 16), dtype=np.int64)
CASES = {
    "the text is too short": Case(lambda f: text(f, "Too short."), "too few for 2 sequences of 16: give a longer text"),
    "the text is not UTF-8": Case(lambda f: text(f, b"\xff\xfe\x00"), "is no text in UTF-8", line="data"),
    "there is no such text": Case(lambda f: {"data": "nothing.txt"}, "data: no text file", line="data"),
    "a directory of text": Case(lambda f: {"data": "."}, "data: no text file", line="data"),
    "a metric's name": Case(lambda f: {"metric": "kl_to_flaot"}, "did you mean 'kl_to_float'?", line="metric"),
    "an output's name": Case(lambda f: text(f, TEXT_FILE, output="logit"), "has no 'logit'; did you mean 'logits'?"),
    "an output unlike any": Case(lambda f: text(f, TEXT_FILE, output="xyzzy"), "has no 'xyzzy'; valid: logits"),
    "an input's name": Case(lambda f: arrays(f, input_idz=IDS), "did you mean 'input_ids'?", line="data"),
    "unequal samples": Case(
        lambda f: arrays(f, input_ids=IDS, attention_mask=MASK[:3]), "holds different numbers of samples", line="data"
    ),
    "one sample": Case(lambda f: arrays(f, input_ids=IDS[:1]), "holds one sample", line="data"),
    "no sample": Case(lambda f: arrays(f, input_ids=IDS[:0]), "holds no sample", line="data"),
    "arrays of text": Case(lambda f: arrays(f, input_ids=np.array(["a", "b"])), "cannot be read", line="data"),
    "arrays that are damaged": Case(damaged, "cannot be read", line="data"),
    "a token that there is not": Case(lambda f: arrays(f, input_ids=IDS + 250), "index out of range"),
    "an input is missing": Case(lambda f: arrays(f, attention_mask=MASK), "input_ids"),
    "shared inputs of a text": Case(lambda f: text(f, TEXT_FILE, shared=["attention_mask"]), "shared:", line="shared"),
    "a shared input that is not there": Case(
        lambda f: arrays(f, input_ids=IDS) | {"shared": ["mask"]}, "has no 'mask'", line="shared"
    ),
    "a length of arrays": Case(lambda f: arrays(f, input_ids=IDS) | {"length": 8}, "length: is that of", line="length"),
    "a length beyond the network": Case(lambda f: text(f, TEXT_FILE, length=65), "has room for 64", line="length"),
    "an answer beyond the network": Case(
        lambda f: {"phases": {"prompt": 60, "new_tokens": 8}}, "phases: 68 tokens", line="phases"
    ),
    "phases of an encoder": Case(lambda f: {"phases": {"prompt": 4}}, "and this is a BertModel", "bert", "phases"),
    "steps": Case(lambda f: {"steps": 4}, "steps: goes with diffusers:DIR", line="steps"),
    "no images": Case(pictures, "holds 0 images", "vit", "data"),
    "a single image": Case(lambda f: pictures(f, a_png=b""), "holds 1 images", "vit", "data"),
    "images that are none": Case(lambda f: pictures(f, a_png=b"", b_png=b""), "a.png' is no image", "vit", "data"),
    "images without a folder": Case(lambda f: {}, "data: name a folder of images", "vit"),
    "images of another size": Case(
        lambda f: arrays(f, pixel_values=np.zeros((2, 3, 8, 8), np.float32)), "Input image size (8*8)", "vit"
    ),
    "no tokenizer": Case(lambda f: without(f, "tokenizer.json") | without(f, "tokenizer_config.json"), "no tokenizer"),
    "a tokenizer that is damaged": Case(lambda f: (f / "tokenizer.json").write_text("{") and {}, "cannot be read"),
    "a network of another size": Case(
        lambda f: edited(f, vocab_size=100), "has shape [260, 32], and a LlamaForCausalLM"
    ),
    "a tokenizer with too many tokens": Case(few_tokens, "its network has 100"),
    "weights in pickles": Case(pickled, "only weights in pickles"),
    "no weights": Case(lambda f: without(f, "model.safetensors"), "holds no weights"),
    "weights that are cut off": Case(cut, "is no whole safetensors file"),
    "a weight is missing": Case(lacking, "holds no 'model.layers.1.mlp.up_proj.weight' (1 weights"),
    "config.json is cut off": Case(lambda f: (f / "config.json").write_text('{"a": ') and {}, "broken JSON"),
    "config.json is a list": Case(lambda f: (f / "config.json").write_text("[1]") and {}, "expected a mapping"),
    "config.json is another's": Case(lambda f: (f / "config.json").write_text("{}") and {}, "cannot be read"),
    "no config.json": Case(lambda f: without(f, "config.json"), "holds no config.json and no .gguf file"),
    "an unknown architecture": Case(
        lambda f: edited(f, architectures=["LlamaForCausalLN"]), "did you mean 'LlamaForCausalLM'?"
    ),
    "an architecture that is no network": Case(
        lambda f: edited(f, architectures=["LlamaConfig"]), "no network 'LlamaConfig'"
    ),
    "an unknown kind": Case(lambda f: edited(f, model_type="lama", architectures=[]), "cannot be read"),
    "sizes that are none": Case(lambda f: edited(f, hidden_size=0), "of its config.json [260, 0]"),
    "code of its own": Case(lambda f: edited(f, auto_map={"AutoModel": "x.Y"}), "brings code of its own"),
    "quantized already": Case(lambda f: edited(f, quantization_config={"quant_method": "gptq"}), "already (gptq)"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_one_line(
    written: Written, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case, folder = CASES[name], tmp_path / "network"
    shutil.copytree(written(case.kind), folder)
    task = {"task": "transformers:network"} | case.change(folder)
    said = refused(tmp_path, task, capsys)
    assert case.says in said
    if "network/" not in case.says:
        assert f"space.yaml:{list(task).index(case.line) + 3}: " in said or "net: " in said or "'transformers:" in said


def refused(folder: Path, task: Options, capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    """What `codesign validate` says of a task, whose keys stand on lines of their own from the third on."""
    keys = "".join(f"    {key}: {json.dumps(value)}\n" for key, value in task.items())
    file = folder / "space.yaml"
    file.write_text(
        f"name: wrong\ntasks: {{net: {{\n{keys.replace(chr(10), ',' + chr(10))}}}}}\n"
        "pairs: [int8]\nobjectives: [net.quality, net.weight_bytes]\n"
    )
    capsys.readouterr()
    assert main(["validate", str(file)]) == code
    printed = capsys.readouterr()
    (said,) = (line for line in printed.err.splitlines() if not line.startswith(PROGRESS))
    assert said.startswith("codesign: error: ")
    assert not printed.out
    return said


@pytest.mark.parametrize("key", ["length", "data", "phases", "memory_gib"])
def test_options_of_directories_mean_nothing_elsewhere(
    key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value = {"data": "text.txt", "phases": {"prompt": 4}}.get(key, 4)
    said = refused(tmp_path, {"task": "restore", key: value}, capsys)
    assert f"{key} goes with a task from a directory" in said


def test_a_directory_that_is_not_there_has_neighbours(
    written: Written, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "smollm").mkdir()
    assert "did you mean 'smollm'?" in refused(tmp_path, {"task": "transformers:smolm"}, capsys)


def test_a_pipeline_is_told_by_its_parts(written: Written, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(tmp_path, {"task": f"transformers:{written('clip').parent}"}, capsys)
    assert "its parts are text_encoder: give one" in said


def test_without_the_library_the_package_is_named(
    written: Written, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    said = refused(tmp_path, {"task": f"transformers:{written('llama')}"}, capsys, code=3)
    assert "transformers is not installed (pip install 'codesign[transformers]')" in said


def test_arrays_are_the_networks_inputs(written: Written, tmp_path: Path) -> None:
    """In place of a tokenizer; those that all samples share are named."""
    from codesign.models import load_task
    from codesign.models.directories import TaskOptions

    bias = np.zeros((1, 1, 16, 16), dtype=np.float32)
    np.savez(tmp_path / "ids.npz", input_ids=IDS, attention_mask=bias)
    given = TaskOptions(data=str(tmp_path / "ids.npz"), shared=["attention_mask"], batch=2)
    task = load_task(f"transformers:{written('bert')}", options=given)
    with torch.no_grad():
        assert task.run(task.module)["output"].shape == (2, 16, 32)
    assert not any(layer == "root" for layer in task.workload().layers)
