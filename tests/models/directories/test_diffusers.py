"""diffusers:DIR runs the denoiser of a pipeline by its own scheduler, as diffusers itself does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from codesign.cli import main
from codesign.errors import InputError
from codesign.formats import Assignment
from codesign.models.custom import CustomTask
from codesign.models.streaming import weights_of
from codesign.models.task import ImageExample
from codesign.quality.evaluator import Evaluator
from tests.models.directories import diffusers_tiny as tiny
from tests.models.directories.diffusers_tiny import PIPELINES, sampled, task_of

pytest.importorskip("diffusers")


def noise_of(task: CustomTask) -> Tensor:
    return torch.cat([batch.inputs["noise"] for batch in task.evaluation])


# ---- what runs --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", PIPELINES)
def test_a_pipeline_is_scored_and_its_layers_are_those_that_run(made: Callable[[str], Path], kind: str) -> None:
    task = task_of(made(kind), batch=1)
    workload = task.workload()
    ran: set[str] = set()
    hooks = [
        each.register_forward_hook(lambda *_, name=name: ran.add(name))
        for name, each in task.module.named_modules()
        if isinstance(each, (nn.Linear, nn.Conv2d))
    ]
    sampled(task)
    for hook in hooks:
        hook.remove()
    kinds = workload.layer_kinds()
    assert {layer for layer in workload.layers if kinds[layer] != "attention"} == ran
    assert any(kind == "attention" for kind in kinds.values())
    assert workload.repeats == {"denoise": 2}
    evaluate = Evaluator(task)
    exact, rounded = (evaluate(Assignment.uniform(workload, name)).value for name in ("fp32", "int8"))
    assert exact == task.from_raw(0.0)
    assert rounded > exact


@pytest.mark.slow
@pytest.mark.parametrize("kind", PIPELINES)
def test_a_sample_does_not_depend_on_its_batch(made: Callable[[str], Path], kind: str) -> None:
    alone, together = (task_of(made(kind), batch=size) for size in (1, 2))
    torch.testing.assert_close(sampled(alone), sampled(together), rtol=1e-4, atol=1e-4)
    assert torch.equal(sampled(alone), sampled(alone))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["LCMScheduler", "EulerAncestralDiscreteScheduler", "DPMSolverMultistepScheduler"])
def test_noise_of_a_schedulers_steps_is_that_of_the_sample(tmp_path: Path, name: str) -> None:
    folder = tiny.stable_diffusion(tmp_path / "sd", schedule=tiny.scheduler(name))
    alone, together = (task_of(folder, batch=size) for size in (1, 2))
    torch.testing.assert_close(sampled(alone), sampled(together), rtol=1e-3, atol=1e-3)
    assert torch.equal(sampled(alone), sampled(alone))


def test_calibration_sees_other_noise_and_other_prompts(made: Callable[[str], Path]) -> None:
    task = task_of(made("stable_diffusion"))
    first, second = (part.first().inputs for part in (task.calibration, task.evaluation))
    for key in ("noise", "seed", "encoder_hidden_states"):
        assert first[key].shape == second[key].shape
        assert not torch.equal(first[key], second[key])


def test_the_calls_of_a_higher_order_scheduler_are_counted(tmp_path: Path) -> None:
    folder = tiny.stable_diffusion(tmp_path / "sd", schedule=tiny.scheduler("HeunDiscreteScheduler"))
    assert task_of(folder, steps=4).workload().repeats == {"denoise": 7}


def test_a_latent_consistency_network_takes_four_steps_and_the_scale_of_guidance(tmp_path: Path) -> None:
    folder = tiny.stable_diffusion(tmp_path / "sd", schedule=tiny.scheduler("LCMScheduler"), time_cond_proj_dim=8)
    task = task_of(folder, steps=None)
    workload = task.workload()
    assert workload.repeats == {"denoise": 4}
    assert "time_embedding.cond_proj" in workload.layers
    strong, weak = (sampled(task_of(folder, guidance=scale)) for scale in (8.5, 2.0))
    assert not torch.equal(strong, weak)
    assert torch.equal(strong, sampled(task_of(folder)))


@pytest.mark.slow
def test_guidance_doubles_the_work_of_a_step(made: Callable[[str], Path]) -> None:
    plain, guided = (task_of(made("stable_diffusion"), guidance=g).workload() for g in (1.0, 7.5))
    assert guided.macs() == 2 * plain.macs()


# ---- the same as diffusers --------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("guidance", [1.0, 5.0])
@pytest.mark.parametrize("kind", ["stable_diffusion", "sdxl", "sd3", "pixart"])
def test_samples_are_those_of_the_pipeline_in_diffusers(
    made: Callable[[str], Path], tmp_path: Path, kind: str, guidance: float
) -> None:
    from diffusers import DiffusionPipeline

    task = task_of(made(kind), guidance=guidance, data=str(tiny.prompt_file(tmp_path / "prompts.txt")))
    absent = {"text_encoder_3": None, "tokenizer_3": None} if kind == "sd3" else {}
    theirs = DiffusionPipeline.from_pretrained(made(kind), local_files_only=True, **absent)
    theirs.set_progress_bar_config(disable=True)
    more = {"use_resolution_binning": False, "clean_caption": False} if kind == "pixart" else {}
    wanted = theirs(
        list(tiny.PROMPTS[4:6]),
        num_inference_steps=2,
        guidance_scale=guidance,
        latents=noise_of(task),
        output_type="latent",
        height=16,
        width=16,
        **more,
    ).images
    torch.testing.assert_close(sampled(task), wanted, rtol=1e-4, atol=1e-4)


def test_a_dit_takes_its_classes_as_the_pipeline_does(made: Callable[[str], Path]) -> None:
    from diffusers import DiTTransformer2DModel

    task = task_of(made("dit"), steps=1, guidance=4.0)
    network = DiTTransformer2DModel.from_pretrained(made("dit") / "transformer")
    schedule = tiny.scheduler()
    schedule.set_timesteps(1)
    x, time = noise_of(task), schedule.timesteps[0]
    labels = torch.tensor([0, 5, 10, 10])  # two of ten classes, and twice that of none
    with torch.no_grad():
        predicted = network(torch.cat([x, x]), time.expand(4), labels).sample[:, :4]
    towards, away = predicted.chunk(2)
    wanted = schedule.step(away + 4.0 * (towards - away), time, x).prev_sample
    torch.testing.assert_close(sampled(task), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_inpainting_sees_a_mask_and_the_masked_image_as_in_diffusers(tmp_path: Path) -> None:
    from diffusers import StableDiffusionInpaintPipeline

    folder = tiny.stable_diffusion(tmp_path / "sd", in_channels=9)
    pictures = tiny.photographs(tmp_path / "pictures", side=16)
    words = tiny.prompt_file(tmp_path / "prompts.txt")
    task = task_of(folder, data=str(pictures), prompts=str(words))
    seen = task.evaluation.first().inputs["concatenated"]
    assert seen.shape == (2, 5, 8, 8)
    assert set(seen[:, 0].unique().tolist()) == {0.0, 1.0}
    theirs = StableDiffusionInpaintPipeline.from_pretrained(folder, safety_checker=None, local_files_only=True)
    images = [np.asarray(_opened(pictures / f"{i}.png"), np.float32) / 255 for i in (1, 3)]
    masks = _masks(task)
    sampled_there = [
        _inpainted(theirs, prompt, image, mask, latent)
        for prompt, image, mask, latent in zip(tiny.PROMPTS[4:6], images, masks, noise_of(task), strict=True)
    ]
    torch.testing.assert_close(sampled(task), torch.cat(sampled_there), rtol=1e-3, atol=1e-3)
    workload = task.workload()
    evaluate = Evaluator(task)
    assert evaluate(Assignment.uniform(workload, "fp32")).value == task.from_raw(0.0)
    assert evaluate(Assignment.uniform(workload, "int8")).value > task.from_raw(0.0)


def _opened(path: Path) -> Any:
    from PIL import Image

    return Image.open(path).convert("RGB")


def _masks(task: CustomTask) -> Tensor:
    from codesign.models.directories.diffusion_data import masks

    return masks(task.evaluation.first().inputs["seed"], (16, 16))


def _inpainted(pipeline: Any, prompt: str, image: np.ndarray, mask: Tensor, noise: Tensor) -> Tensor:
    """diffusers' latents, where the autoencoder gives the mean of its distribution as ours does."""
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

    pipeline.set_progress_bar_config(disable=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())
        found: Tensor = pipeline(
            prompt,
            image=torch.tensor(image).permute(2, 0, 1)[None] * 2 - 1,
            mask_image=mask[None],
            num_inference_steps=2,
            guidance_scale=1.0,
            latents=noise[None],
            output_type="latent",
            height=16,
            width=16,
        ).images
    return found


def test_super_resolution_sees_the_small_image(tmp_path: Path) -> None:
    parts = {
        "unet": tiny.unet(in_channels=7, num_class_embeds=1000),
        "scheduler": tiny.scheduler(),
        "low_res_scheduler": tiny.scheduler("DDPMScheduler"),
        "text_encoder": tiny.text_encoder(),
        "tokenizer": tiny.tokenizer(),
        "vae": tiny.autoencoder(),
    }
    folder = tiny.written(tmp_path / "upscaler", "StableDiffusionUpscalePipeline", parts)
    task = task_of(folder, data=str(tiny.photographs(tmp_path / "pictures")), size=32)
    inputs = task.evaluation.first().inputs
    assert inputs["concatenated"].shape == (2, 3, 16, 16)
    assert inputs["class_labels"].tolist() == [20, 20]
    assert sampled(task).shape == (2, 4, 16, 16)
    assert "class_embedding" not in task.workload().layers


# ---- data of other kinds ----------------------------------------------------------------------------


def test_conditions_come_from_arrays(made: Callable[[str], Path], tmp_path: Path) -> None:
    from diffusers import UNet2DConditionModel

    draw = torch.Generator().manual_seed(0)
    text = torch.randn(4, 5, tiny.WIDTH, generator=draw)
    np.savez(tmp_path / "inputs.npz", encoder_hidden_states=text.numpy())
    task = task_of(made("stable_diffusion"), data=str(tmp_path / "inputs.npz"), steps=1)
    network = UNet2DConditionModel.from_pretrained(made("stable_diffusion") / "unet")
    schedule = tiny.scheduler()
    schedule.set_timesteps(1)
    with torch.no_grad():
        predicted = network(noise_of(task), schedule.timesteps[0], text[2:]).sample
    wanted = schedule.step(predicted, schedule.timesteps[0], noise_of(task)).prev_sample
    torch.testing.assert_close(sampled(task), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_denoiser_alone_is_called_on_arrays_by_name(made: Callable[[str], Path], tmp_path: Path) -> None:
    from diffusers import UNet2DConditionModel

    draw = torch.Generator().manual_seed(0)
    inputs = {
        "sample": torch.randn(4, 4, 8, 8, generator=draw),
        "timestep": torch.tensor([900, 500, 300, 1]),
        "encoder_hidden_states": torch.randn(4, 5, 2 * tiny.WIDTH, generator=draw),
        "text_embeds": torch.randn(4, tiny.WIDTH, generator=draw),
        "time_ids": torch.tensor([[16.0, 16, 0, 0, 16, 16]]),
    }
    save_file(inputs, tmp_path / "inputs.safetensors")
    folder = made("sdxl") / "unet"
    with pytest.raises(InputError, match="shared"):
        task_of(folder, data=str(tmp_path / "inputs.safetensors"))
    inputs["time_ids"] = inputs["time_ids"].repeat(4, 1)
    save_file(inputs, tmp_path / "inputs.safetensors")
    task = task_of(folder, data=str(tmp_path / "inputs.safetensors"))
    network = UNet2DConditionModel.from_pretrained(folder)
    added = {key: inputs[key][2:] for key in ("text_embeds", "time_ids")}
    plain = (inputs[key][2:] for key in ("sample", "timestep", "encoder_hidden_states"))
    with torch.no_grad():
        wanted = network(*plain, added_cond_kwargs=added).sample
    torch.testing.assert_close(sampled(task), wanted, rtol=1e-4, atol=1e-5)
    workload = task.workload()
    assert Evaluator(task)(Assignment.uniform(workload, "int8")).value > task.from_raw(0.0)


@pytest.mark.slow
@pytest.mark.parametrize("output", ["image", "latents"])
def test_an_autoencoder_is_its_decoder_or_its_encoder(made: Callable[[str], Path], tmp_path: Path, output: str) -> None:
    from diffusers import AutoencoderKL

    folder, pictures = made("stable_diffusion") / "vae", tiny.photographs(tmp_path / "pictures", side=16)
    task = task_of(folder, data=str(pictures), output="" if output == "image" else output)
    whole = AutoencoderKL.from_pretrained(folder)
    images = torch.stack([torch.tensor(np.asarray(_opened(pictures / f"{i}.png"))) for i in (1, 3)])
    with torch.no_grad():
        latents = whole.encode(images.permute(0, 3, 1, 2) / 127.5 - 1).latent_dist.mode()
        wanted = whole.decode(latents).sample if output == "image" else latents
    torch.testing.assert_close(sampled(task), wanted, rtol=1e-4, atol=1e-4)
    workload = task.workload()
    assert not workload.unread
    half = {"decoder", "post_quant_conv"} if output == "image" else {"encoder", "quant_conv"}
    assert {layer.partition(".")[0] for layer in workload.layers} == half
    named = dict(whole.named_modules())
    assert all(layer in named for layer in workload.layers)
    evaluate = Evaluator(task)
    assert evaluate(Assignment.uniform(workload, "fp32")).value == task.from_raw(0.0)
    assert evaluate(Assignment.uniform(workload, "int8")).value > task.from_raw(0.0)


def test_a_tiny_decoder_takes_latents(tmp_path: Path) -> None:
    from diffusers import AutoencoderTiny

    widths = {"encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8)}
    blocks = {"num_encoder_blocks": (1, 1), "num_decoder_blocks": (1, 1)}
    whole = tiny.seeded(AutoencoderTiny, 0, **widths, **blocks)
    whole.save_pretrained(tmp_path / "vae")
    latents = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    save_file({"latents": latents}, tmp_path / "latents.safetensors")
    task = task_of(tmp_path / "vae", data=str(tmp_path / "latents.safetensors"))
    with torch.no_grad():
        torch.testing.assert_close(sampled(task), whole.decode(latents[2:]).sample)
    assert not task.workload().unread


def test_examples_are_images_by_the_float_decoder(made: Callable[[str], Path]) -> None:
    task = task_of(made("stable_diffusion"))
    shown = task.examples({"output": sampled(task)}, reference=True)["output"]
    assert [(each.image.shape, each.image.dtype) for each in shown if isinstance(each, ImageExample)] == [
        ((16, 16, 3), np.uint8)
    ] * 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["stable_diffusion", "sd3", "pixart", "dit"])
def test_weights_that_memory_does_not_hold_are_read_as_they_are_needed(made: Callable[[str], Path], kind: str) -> None:
    small, whole = task_of(made(kind), memory_gib=1e-6), task_of(made(kind))
    assert all(not parameter.untyped_storage().size() for parameter in small.module.parameters())
    assert torch.equal(sampled(small), sampled(whole))
    assert small.fingerprint() == whole.fingerprint()
    assert len(list(weights_of(small.module))) == len(list(weights_of(whole.module)))


# ---- a study ----------------------------------------------------------------------------------------

SPACE = """
name: denoiser
tasks:
  unet: {task: "diffusers:sd", data: prompts.txt, sequences: 2, steps: 1, batch: 2}
pairs: [int8, mxfp4]
objectives: [unet.quality, unet.weight_bytes]
search: {evaluations: 3, batch: 2, front_size: 4}
"""


KINDS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "sdxl": (tiny.sdxl, "data: prompts.txt, sequences: 2, steps: 1"),
    "sd3": (tiny.sd3, "data: prompts.txt, sequences: 2, steps: 1"),
    "inpainting": (
        lambda folder: tiny.stable_diffusion(folder, in_channels=9),
        "data: pictures, prompts: prompts.txt, sequences: 2, steps: 1",
    ),
    "dit": (tiny.dit, "sequences: 2, steps: 1"),
    "decoder": (lambda folder: tiny.stable_diffusion(folder) / "vae", "data: pictures, sequences: 2"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_validated_explained_and_searched_with_yaml_alone(kind: str, tmp_path: Path) -> None:
    write, options = KINDS[kind]
    folder = write(tmp_path / "net")
    tiny.prompt_file(tmp_path / "prompts.txt")
    tiny.photographs(tmp_path / "pictures", side=16)
    task = f'"diffusers:{folder.relative_to(tmp_path)}"'
    space = tmp_path / "space.yaml"
    space.write_text(
        SPACE.replace('"diffusers:sd", data: prompts.txt, sequences: 2, steps: 1, batch: 2', f"{task}, {options}")
    )
    for command in (["validate"], ["explain"], ["search", "--out", str(tmp_path / "study")]):
        assert main([command[0], str(space), *command[1:]]) == 0
    front = json.loads((tmp_path / "study" / "front.json").read_text())
    assert len(front["designs"]) >= 2


@pytest.mark.slow
def test_a_denoiser_is_searched_from_a_file(tmp_path: Path) -> None:
    tiny.stable_diffusion(tmp_path / "sd")
    tiny.prompt_file(tmp_path / "prompts.txt")
    (tmp_path / "space.yaml").write_text(SPACE)
    assert main(["search", str(tmp_path / "space.yaml"), "--out", str(tmp_path / "study")]) == 0
    found = json.loads((tmp_path / "study" / "front.json").read_text())
    assert found["designs"]
    examples = json.loads((tmp_path / "study" / "examples.json").read_text())
    assert examples["unet"]["float"][0]["png"]
