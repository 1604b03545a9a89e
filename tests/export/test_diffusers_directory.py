"""A diffusers directory comes back as one that diffusers opens, with the weights that were scored."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path

import pytest
import torch

from codesign.errors import InputError
from codesign.export.scored import ScoredNetwork
from codesign.formats import Assignment, FormatPair
from codesign.models.custom import CustomTask
from codesign.quality import Evaluator
from tests.export.networks import export, scored
from tests.models.directories.diffusers_tiny import stable_diffusion, task_of

diffusers = pytest.importorskip("diffusers", reason="codesign[diffusers] is not installed")

PAIRS = ("int8", "int4_g32:int8 + gptq", "int4_g128:bf16", "fp8_e4m3", "mxfp4", "nvfp4", "bf16")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = stable_diffusion(tmp_path_factory.mktemp("pipeline") / "sd")
    (folder / "unet" / "notes.py").write_text("raise SystemExit\n")
    return folder


@pytest.fixture(scope="module")
def evaluator(directory: Path) -> Evaluator:
    return Evaluator(task_of(directory), ranges="minmax")


@pytest.mark.slow
def test_a_pipeline_opens_with_the_weights_that_were_scored(
    evaluator: Evaluator, directory: Path, tmp_path: Path
) -> None:
    pairs = dict(zip(evaluator.layers, map(FormatPair.parse, cycle(PAIRS)), strict=False))
    network = ScoredNetwork(evaluator.task, Assignment.of_pairs(pairs, evaluator.layers), evaluator)
    found = export("diffusers", network, f"diffusers:{directory}", tmp_path / "out")
    assert found["opened_by"] == "diffusers"
    assert any("weights only" in said for said in found["deviations"])
    opened = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "out", local_files_only=True)
    for name, layer in network.layers.items():
        if layer.parameter is not None:
            assert torch.equal(opened.unet.get_parameter(layer.parameter), network.values(name))
    assert torch.equal(opened.vae.post_quant_conv.weight, _vae(directory).post_quant_conv.weight)
    assert not list((tmp_path / "out").rglob("*.py"))
    assert (tmp_path / "out" / "quantized" / "codes.safetensors").is_file()


def _vae(directory: Path) -> torch.nn.Module:
    found: torch.nn.Module = diffusers.AutoencoderKL.from_pretrained(directory / "vae")
    return found


def test_linear_layers_of_a_denoiser_go_to_compressed_tensors(
    evaluator: Evaluator, directory: Path, tmp_path: Path
) -> None:
    pytest.importorskip("compressed_tensors", reason="codesign[compressed-tensors] is not installed")
    linear = [name for name, kind in evaluator.layers.items() if kind == "linear"]
    found = export(
        "compressed-tensors",
        scored(evaluator, dict.fromkeys(linear, "int8"), "fp32"),
        f"diffusers:{directory}",
        tmp_path / "out",
    )
    assert found["opened_by"] == "compressed-tensors"
    with pytest.raises(InputError, match="layer 'conv_in': vllm has no format 'int8'"):
        export("compressed-tensors", scored(evaluator, {}, "int8"), f"diffusers:{directory}", tmp_path / "not")


def test_another_network_is_no_diffusers_directory(tiny: CustomTask, tmp_path: Path) -> None:
    network = scored(Evaluator(tiny), {}, "int8")
    with pytest.raises(InputError, match="'python:net' gives no network of a diffusers directory"):
        export("diffusers", network, "python:net", tmp_path / "out")
