"""Directories as diffusers writes them, of random networks small enough for a test."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from codesign.models.custom import CustomTask
from codesign.models.directories import TaskOptions, load_directory

TOKENS, WIDTH = 8, 16
PROMPTS = ("a fox", "the sea at dusk", "an old man", "two apples", "rain", "a red bicycle", "snow", "a cat")


def seeded(cls: Any, seed: int = 0, **config: Any) -> Any:
    torch.manual_seed(seed)
    return cls(**config).eval()


def unet(**more: Any) -> Any:
    from diffusers import UNet2DConditionModel

    config: dict[str, Any] = {
        "sample_size": 8,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": (16, 32),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": WIDTH,
        "attention_head_dim": 4,
        "norm_num_groups": 4,
    }
    return seeded(UNet2DConditionModel, 1, **config | more)


def tokenizer() -> Any:
    from transformers import CLIPTokenizer

    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    words = [*letters, *(f"{each}</w>" for each in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=TOKENS)


def text_encoder(*, projects: bool = False, seed: int = 2) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=54,
        hidden_size=WIDTH,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        projection_dim=WIDTH,
        bos_token_id=52,
        eos_token_id=53,
    )
    torch.manual_seed(seed)
    return (CLIPTextModelWithProjection if projects else CLIPTextModel)(config).eval()


def autoencoder() -> Any:
    from diffusers import AutoencoderKL

    return seeded(
        AutoencoderKL,
        3,
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
    )


def scheduler(name: str = "DDIMScheduler", **more: Any) -> Any:
    import diffusers

    usual: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    if name.startswith("FlowMatch"):
        usual = {}
    if name in ("DDIMScheduler", "LCMScheduler"):
        usual |= {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}
    return getattr(diffusers, name)(**usual | more)


def written(folder: Path, kind: str, parts: dict[str, Any], **more: Any) -> Path:
    """A pipeline's directory; parts that are None are optional ones, left out."""
    index: dict[str, Any] = {"_class_name": kind, "_diffusers_version": "0.36.0", **more}
    for name, part in parts.items():
        if part is not None:
            part.save_pretrained(folder / name)
        library = None if part is None else type(part).__module__.partition(".")[0]
        index[name] = [library, None if part is None else type(part).__name__]
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def stable_diffusion(folder: Path, *, schedule: Any = None, **more: Any) -> Path:
    parts = {
        "unet": unet(**more),
        "scheduler": schedule or scheduler(),
        "text_encoder": text_encoder(),
        "tokenizer": tokenizer(),
        "vae": autoencoder(),
        "safety_checker": None,
    }
    return written(folder, "StableDiffusionPipeline", parts)


def sdxl(folder: Path) -> Path:
    wide = unet(
        cross_attention_dim=2 * WIDTH,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=WIDTH + 6 * 8,
    )
    parts = {
        "unet": wide,
        "scheduler": scheduler("EulerDiscreteScheduler"),
        "text_encoder": text_encoder(),
        "text_encoder_2": text_encoder(projects=True, seed=5),
        "tokenizer": tokenizer(),
        "tokenizer_2": tokenizer(),
        "vae": autoencoder(),
    }
    return written(folder, "StableDiffusionXLPipeline", parts, force_zeros_for_empty_prompt=True)


def sd3(folder: Path) -> Path:
    from diffusers import SD3Transformer2DModel

    transformer = seeded(
        SD3Transformer2DModel,
        6,
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=48,
        caption_projection_dim=16,
        pooled_projection_dim=2 * WIDTH,
        out_channels=4,
        pos_embed_max_size=8,
    )
    parts = {
        "transformer": transformer,
        "scheduler": scheduler("FlowMatchEulerDiscreteScheduler", shift=3.0),
        "text_encoder": text_encoder(projects=True),
        "text_encoder_2": text_encoder(projects=True, seed=5),
        "text_encoder_3": None,
        "tokenizer": tokenizer(),
        "tokenizer_2": tokenizer(),
        "tokenizer_3": None,
        "vae": autoencoder(),
    }
    return written(folder, "StableDiffusion3Pipeline", parts)


def pixart(folder: Path) -> Path:
    from diffusers import PixArtTransformer2DModel
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    transformer = seeded(
        PixArtTransformer2DModel,
        8,
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        cross_attention_dim=16,
        caption_channels=WIDTH,
        sample_size=8,
        norm_num_groups=4,
    )
    torch.manual_seed(9)
    config = T5Config(vocab_size=32, d_model=WIDTH, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -5.0), *((c, -2.0) for c in "▁abcdefghijklmnopqrstuvwxyz")]
    parts = {
        "transformer": transformer,
        "scheduler": scheduler("DPMSolverMultistepScheduler"),
        "text_encoder": T5EncoderModel(config).eval(),
        "tokenizer": T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=20),
        "vae": autoencoder(),
    }
    return written(folder, "PixArtAlphaPipeline", parts)


def dit(folder: Path) -> Path:
    from diffusers import DiTTransformer2DModel

    transformer = seeded(
        DiTTransformer2DModel,
        4,
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        sample_size=8,
        num_embeds_ada_norm=10,
        norm_num_groups=4,
    )
    return written(folder, "DiTPipeline", {"transformer": transformer, "scheduler": scheduler(), "vae": autoencoder()})


def unconditional(folder: Path, **more: Any) -> Path:
    from diffusers import UNet2DModel

    config: dict[str, Any] = {
        "sample_size": 16,
        "in_channels": 3,
        "out_channels": 3,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": 4,
        "norm_num_groups": 4,
    }
    parts = {"unet": seeded(UNet2DModel, 7, **config | more), "scheduler": scheduler("DDPMScheduler")}
    return written(folder, "DDPMPipeline", parts)


def photographs(folder: Path, count: int = 4, side: int = 24) -> Path:
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for i in range(count):
        coarse = draw.integers(0, 255, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


def prompt_file(path: Path, prompts: Sequence[str] = PROMPTS) -> Path:
    path.write_text("\n".join(prompts) + "\n")
    return path


Make = Callable[[Path], Path]
PIPELINES: dict[str, Make] = {
    "stable_diffusion": stable_diffusion,
    "sdxl": sdxl,
    "sd3": sd3,
    "pixart": pixart,
    "dit": dit,
    "unconditional": unconditional,
}


def task_of(folder: Path, **options: Any) -> CustomTask:
    few = {"sequences": 2, "steps": 2} if (folder / "model_index.json").is_file() else {}
    return load_directory(f"diffusers:{folder}", name="net", options=TaskOptions(**few | options))


def sampled(task: CustomTask) -> Tensor:
    with torch.inference_mode():
        return task.run(task.module)["output"]
