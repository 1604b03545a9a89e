"""Directories that somebody else made: what they must not do is refused in one line, before it happens."""

from __future__ import annotations

import json
import os
import pickle  # what a hostile directory holds; nothing here reads one
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codesign.errors import InputError
from codesign.export.directories import copy_files, copy_parts
from codesign.models.directories import TaskOptions, load_directory
from codesign.models.directories.safety import check_counts, check_directory, elements_of
from tests.models.directories.diffusers_tiny import PIPELINES
from tests.models.directories.networks import TEXT_FILE

Change = Callable[[Path], None]
WEIGHTS = {"transformers": "model.safetensors", "diffusers": "unet/diffusion_pytorch_model.safetensors"}


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def pickled(name: str) -> Change:
    def change(folder: Path) -> None:
        file = next(iter(folder.rglob("*.safetensors")))
        file.unlink()
        file.with_name(name).write_bytes(pickle.dumps({"weight": Payload(folder.parent / "ran")}))

    return change


def truncated(name: str) -> Change:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-64]) and None


def linked(name: str) -> Change:
    def change(folder: Path) -> None:
        outside = folder.parent / "outside"
        shutil.move(folder / name, outside)
        (folder / name).symlink_to(outside)

    return change


def edited(name: str, **changes: Any) -> Change:
    def change(folder: Path) -> None:
        file = folder / name
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return change


def with_code(name: str, **changes: Any) -> Change:
    def change(folder: Path) -> None:
        (folder / "own.py").write_text(f"open({str(folder.parent / 'ran')!r}, 'w')\n")
        shutil.copy(folder / "own.py", (folder / name).parent / "again.py")
        edited(name, **changes)(folder)

    return change


def indexed(folder: Path) -> None:
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "../outside.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


CASES: list[tuple[str, Change, str]] = [
    ("transformers", pickled("pytorch_model.bin"), "only weights in pickles"),
    ("transformers", pickled("model.safetensors"), r"model.safetensors' is no whole safetensors file"),
    (
        "transformers",
        truncated("model.safetensors"),
        r"no whole safetensors file: it has [\d,]+ bytes",
    ),
    ("transformers", linked("model.safetensors"), "model.safetensors' is a link out of its directory"),
    ("transformers", linked("config.json"), "config.json' is a link out of its directory"),
    ("transformers", linked("tokenizer.json"), "tokenizer.json' is a link out of its directory"),
    ("transformers", indexed, "names '../outside.safetensors', which is no file beside it"),
    ("transformers", with_code("config.json", auto_map={"AutoModel": "own.X"}), r"code of its own .*config.json"),
    (
        "transformers",
        with_code("tokenizer_config.json", auto_map={"AutoTokenizer": ["own.X", None]}),
        r"code of its own .*tokenizer_config.json",
    ),
    ("transformers", edited("config.json", hidden_size=10**9), r"holds [\d,]+ weights, and a LlamaForCausalLM"),
    (
        "transformers",
        edited("config.json", vocab_size=10**8),
        r"[\d,]+ weights, and a LlamaForCausalLM of its config",
    ),
    ("transformers", edited("config.json", vocab_size=10**12), "vocab_size is 1,000,000,000,000, and at most"),
    ("transformers", edited("config.json", num_hidden_layers=10**9), "num_hidden_layers is 1,000,000,000, and at most"),
    ("diffusers", pickled("diffusion_pytorch_model.bin"), "only weights in pickles|no whole"),
    ("diffusers", truncated(WEIGHTS["diffusers"]), "is no whole safetensors file"),
    ("diffusers", linked(WEIGHTS["diffusers"]), "is a link out of its directory"),
    ("diffusers", linked("unet"), "unet' is a link out of its directory"),
    ("diffusers", with_code("model_index.json", unet=["own", "X"]), r"code of its own \(own.py, named for unet\)"),
    ("diffusers", with_code("model_index.json", _class_name=["own", "X"]), r"own.py, named for _class_name"),
    ("diffusers", edited("unet/config.json", block_out_channels=[10**9, 10**9]), "unet"),
    ("diffusers", edited("unet/config.json", layers_per_block=10**9), "layers_per_block is 1,000,000,000"),
    ("diffusers", edited("unet/config.json", sample_size=10**9), "sample_size is 1,000,000,000"),
    ("diffusers", edited("scheduler/scheduler_config.json", num_train_timesteps=10**12), "num_train_timesteps is"),
]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return PIPELINES["unconditional"](tmp_path_factory.mktemp("pipeline") / "net")


@pytest.mark.parametrize(("library", "change", "says"), CASES)
def test_a_hostile_directory_is_refused_in_one_line(
    written: Callable[[str], Path], pipeline: Path, library: str, change: Change, says: str, tmp_path: Path
) -> None:
    folder = tmp_path / "net"
    shutil.copytree(written("llama") if library == "transformers" else pipeline, folder)
    (tmp_path / "words.txt").write_text(TEXT_FILE)
    change(folder)
    data = str(tmp_path / "words.txt") if library == "transformers" else ""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=says) as error:
        load_directory(f"{library}:{folder}", name="net", options=TaskOptions(data=data, sequences=2))
    assert "\n" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before  # nothing ran, nothing was written


def test_the_links_of_the_hubs_cache_are_followed(written: Callable[[str], Path], tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "snapshots" / "abc", tmp_path / "blobs"
    shutil.copytree(written("llama"), snapshot)
    blobs.mkdir()
    for file in list(snapshot.iterdir()):
        shutil.move(file, blobs / file.name)
        file.symlink_to(Path("..", "..", "blobs", file.name))
    check_directory(snapshot)
    assert "tokenizer.json" in copy_files(snapshot, tmp_path / "out")
    assert not (tmp_path / "out" / "tokenizer.json").is_symlink()


def test_the_links_of_a_pipeline_in_the_hubs_cache_are_followed(pipeline: Path, tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "snapshots" / "abc", tmp_path / "blobs"
    shutil.copytree(pipeline, snapshot)
    blobs.mkdir()
    for i, file in enumerate(sorted(each for each in snapshot.rglob("*") if each.is_file())):
        shutil.move(file, blobs / str(i))
        file.symlink_to(os.path.relpath(blobs / str(i), file.parent))
    check_directory(snapshot, parts=True)
    check_directory(snapshot / "unet")
    (snapshot / "unet" / "more.json").symlink_to(tmp_path / "outside")
    for folder, parts in ((snapshot, True), (snapshot / "unet", False)):
        with pytest.raises(InputError, match="is a link out of its directory"):
            check_directory(folder, parts)


HEADERS = {
    "nests too deeply": b"[" * 200_000,
    "infinity": b'{"a": {"shape": [1], "data_offsets": [0, Infinity]}}',
    "1,000,000,000 numbers in 0 bytes": b'{"a": {"shape": [1000000000], "data_offsets": [0, 0]}}',
    "-5 numbers": b'{"a": {"shape": [-5], "data_offsets": [0, 0]}}',
}


@pytest.mark.parametrize("says", HEADERS)
def test_a_header_that_cannot_be_is_refused_in_one_line(says: str, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(struct.pack("<Q", len(HEADERS[says])) + HEADERS[says])
    with pytest.raises(InputError, match=f"no whole safetensors file: .*{says}"):
        elements_of(file)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="a device or a pipe"):
        check_directory(tmp_path)


def test_large_numbers_that_are_no_sizes_are_taken() -> None:
    check_counts(Path("config.json"), {"seed": 2**32 - 1, "model_max_length": 10**30, "num_parameters": 7 * 10**9})


def test_the_codes_of_an_earlier_export_are_not_copied(pipeline: Path, tmp_path: Path) -> None:
    folder = tmp_path / "net"
    shutil.copytree(pipeline, folder)
    (folder / "quantized").mkdir()
    (folder / "quantized" / "codes.json").write_text("{}")
    assert "unet/config.json" in copy_parts(folder, tmp_path / "out", "unet", left_out=("quantized",))
    assert not (tmp_path / "out" / "quantized").exists()


def test_what_is_copied_is_neither_code_nor_elsewhere(pipeline: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "net", tmp_path / "out"
    shutil.copytree(pipeline, folder)
    (folder / "unet" / "own.py").write_text("")
    (folder / "unet" / "weights.bin").write_bytes(pickle.dumps(1))
    copied = copy_parts(folder, out, "unet")
    assert "unet/config.json" in copied
    assert {Path(name).suffix for name in copied} == {".json"}
    (folder / "scheduler" / "passwords.txt").symlink_to("/etc/passwd")
    with pytest.raises(InputError, match="is a link out of its directory"):
        copy_parts(folder, tmp_path / "again", "unet")
    assert not (tmp_path / "again" / "scheduler" / "passwords.txt").exists()
