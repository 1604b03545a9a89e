"""What is wrong with a directory of diffusers, or with the options of its task, is said in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from codesign.errors import InputError
from codesign.models.directories import TaskOptions, load_directory
from tests.models.directories import diffusers_tiny as tiny
from tests.models.directories.diffusers_tiny import sampled, task_of

pytest.importorskip("diffusers")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": 2000}, "steps: DDIMScheduler of .* at most 1000"),
        ({"size": 17}, "size: 17 is no multiple of 2.* nearest: 16"),
        ({"metric": "mse_to_flaot"}, "did you mean 'mse_to_float'"),
        ({"output": "sample"}, "output: a sampler gives its samples"),
        ({"length": 7}, "length: goes with text"),
        ({"data": "nowhere.txt"}, "no text file 'nowhere.txt'"),
        ({"data": "nowhere.npz"}, "no file 'nowhere.npz'"),
        ({"prompts": "p.txt"}, "prompts: goes with a folder of images"),
        ({"shared": ["mask"]}, "shared: names inputs of an .npz"),
    ],
)
def test_a_wrong_option_is_one_line(made: Callable[[str], Path], options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        task_of(made("stable_diffusion"), **options)
    assert "\n" not in str(error.value)


def test_the_size_of_an_unconditional_network_is_halved_as_often_as_it_halves(made: Callable[[str], Path]) -> None:
    with pytest.raises(InputError, match=r"size: 15 is no multiple of 2.* nearest: 16"):
        task_of(made("unconditional"), size=15)


def test_unconditional_networks_take_no_prompts_and_no_guidance(made: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="takes no prompts"):
        task_of(made("unconditional"), data=str(tiny.prompt_file(tmp_path / "prompts.txt")))
    with pytest.raises(InputError, match=r"guidance: .* takes no condition to guide by"):
        task_of(made("unconditional"), guidance=3.0)


def _without_scheduler(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    del index["scheduler"]
    (folder / "model_index.json").write_text(json.dumps(index))


def _misnamed_scheduler(folder: Path) -> None:
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(file.read_text().replace("DDIMScheduler", "DDIMSheduler"))


def _pickled(folder: Path) -> None:
    (folder / "unet" / "diffusion_pytorch_model.safetensors").rename(folder / "unet" / "diffusion_pytorch_model.bin")


def _partial(folder: Path) -> None:
    from safetensors.torch import load_file

    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    del weights["conv_in.weight"]
    save_file(weights, file)


def _unknown_class(folder: Path) -> None:
    file = folder / "unet" / "config.json"
    file.write_text(file.read_text().replace("UNet2DConditionModel", "UNet2DConditionalModel"))


def _own_code(folder: Path) -> None:
    file = folder / "unet" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"auto_map": {"AutoModel": "mine.Net"}}))


def _no_tokenizer(folder: Path) -> None:
    shutil.rmtree(folder / "tokenizer")


def _without_index(folder: Path) -> None:
    (folder / "model_index.json").unlink()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_without_scheduler, "model_index.json' names no scheduler"),
        (_misnamed_scheduler, "scheduler_config.json': _class_name: .* did you mean 'DDIMScheduler'"),
        (_pickled, "only weights in pickles"),
        (_partial, "holds no 'conv_in.weight'"),
        (_unknown_class, "config.json': _class_name: .* did you mean 'UNet2DConditionModel'"),
        (_own_code, "brings code of its own"),
        (_no_tokenizer, "has no folder 'tokenizer'"),
        (_without_index, "holds no model_index.json and no config.json; its parts are text_encoder, unet, vae"),
    ],
)
def test_a_damaged_directory_is_one_line(tmp_path: Path, damage: Callable[[Path], None], said: str) -> None:
    folder = tiny.stable_diffusion(tmp_path / "sd")
    damage(folder)
    with pytest.raises(InputError, match=said) as error:
        load_directory(f"diffusers:{folder}", name="net", options=TaskOptions(sequences=2))
    assert "\n" not in str(error.value)


def test_a_component_names_the_inputs_that_it_needs(made: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data: name an .npz or .* of the inputs of .*encoder_hidden_states"):
        task_of(made("stable_diffusion") / "unet")
    with pytest.raises(InputError, match="steps: goes with a pipeline's directory"):
        task_of(made("stable_diffusion") / "unet", steps=3)
    with pytest.raises(InputError, match="give transformers:"):
        task_of(made("stable_diffusion") / "text_encoder")
    np.savez(tmp_path / "x.npz", sample=np.ones((2, 4, 8, 8), np.float32), timestep=np.ones(2, np.int64))
    with pytest.raises(InputError, match="UNet2DConditionModel does not take these inputs"):
        task_of(made("stable_diffusion") / "unet", data=str(tmp_path / "x.npz"))


def test_weights_of_one_variant_are_found(made: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "sd"
    shutil.copytree(made("stable_diffusion"), folder)
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    file.rename(file.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert torch.equal(sampled(task_of(folder)), sampled(task_of(made("stable_diffusion"))))
