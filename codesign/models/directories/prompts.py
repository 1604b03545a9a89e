"""Conditions of a denoiser from prompts, by the text encoders of its own directory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from codesign.errors import InputError, nearest
from codesign.jsonio import read_json
from codesign.models.directories.data import read_text
from codesign.models.directories.diffusers_files import Network, Pipeline, quiet
from codesign.models.directories.safety import check_code, check_counts
from codesign.models.directories.weights import load_weights, reading

PROMPTS = (
    "a lighthouse on a cliff at dusk, waves breaking below",
    "a bowl of ramen with a soft egg, seen from above",
    "an old man with a white beard, portrait in soft window light",
    "a red bicycle leaning against a yellow wall",
    "a fox asleep in fresh snow",
    "an astronaut reading a newspaper in a cafe",
    "a watercolour of a village in the mountains",
    "a close-up of a dragonfly on a blade of grass",
    "a city street at night in the rain, neon reflections",
    "a wooden desk with a typewriter and a cup of coffee",
    "a hot-air balloon over terraced rice fields",
    "two children building a sand castle on a beach",
    "a bookshop with shelves up to the ceiling",
    "a steam train crossing a stone viaduct",
    "a glass of orange juice beside a sliced orange",
    "a grey cat looking out of a window",
)
_T5_TOKENS = 256  # of SD3; PixArt-alpha takes 120 and PixArt-sigma 300, as their pipelines in diffusers
_PIXART_TOKENS = {"PixArtAlphaPipeline": 120, "PixArtSigmaPipeline": 300}


class Texts(NamedTuple):
    """What text encoders give for prompts, by the denoiser's names of its inputs, each [n, ...]."""

    inputs: dict[str, Tensor]
    negative: dict[str, Tensor]  # for the empty prompt, [1, ...]


def read_prompts(path: Path) -> list[str]:
    """The lines of a text file that are not empty; raises InputError if there is none."""
    found = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not found:
        raise InputError(f"data: '{path}' holds no prompt (one a line)")
    return found


def takes_prompts(pipeline: Pipeline) -> bool:
    """Whether it has a text encoder."""
    return pipeline.has("text_encoder") or pipeline.has("text_encoder_2")


def encode(
    pipeline: Pipeline, denoiser: Network, prompts: Sequence[str], size: tuple[int, int], memory_gib: float | None
) -> Texts:
    """Conditions from prompts; size: height and width of the image, pixels.

    Raises InputError if the denoiser takes conditions that prompts do not give.
    """
    added = denoiser.get("addition_embed_type")
    ours: Encode
    if denoiser.name == "SD3Transformer2DModel":
        ours = _sd3
    elif denoiser.name == "PixArtTransformer2DModel":
        ours = _pixart
    elif added == "text_time":
        ours = _sdxl
    elif denoiser.name == "UNet2DConditionModel" and added is None and denoiser.get("encoder_hid_dim_type") is None:
        ours = _sd
    else:
        raise InputError(
            f"'{denoiser.folder}' takes conditions ({added or denoiser.get('encoder_hid_dim_type') or denoiser.name}) "
            "that prompts do not give: name an .npz or .safetensors of its inputs in 'data'"
        )
    encoders = _Encoders(pipeline, memory_gib)
    with torch.inference_mode(), quiet():
        found = ours(encoders, denoiser, [*prompts, ""], size)
    last = {key: x[-1:].clone() for key, x in found.items()}
    if ours is _sdxl and pipeline.index.get("force_zeros_for_empty_prompt", True):
        last |= {key: torch.zeros_like(x) for key, x in last.items() if key != "time_ids"}
    return Texts({key: x[:-1].clone() for key, x in found.items()}, last)


class _Encoders:
    """The text encoders of a pipeline, each read for as long as it runs."""

    def __init__(self, pipeline: Pipeline, memory_gib: float | None) -> None:
        self.pipeline = pipeline
        self._memory_gib = memory_gib

    def has(self, which: str) -> bool:
        return self.pipeline.has(f"text_encoder{which}")

    def __call__(
        self, which: str, texts: Sequence[str], length: int | None = None, *, masked: bool = False
    ) -> tuple[Any, Tensor]:
        """(outputs of every text together, attention mask [n, tokens])."""
        ids, mask = self._tokens(which, texts, length)
        folder = self.pipeline.part(f"text_encoder{which}")
        cls, config = _text_network(folder)
        highest, largest = int(ids.max()), int(config.get_text_config().vocab_size)
        if highest >= largest:
            raise InputError(f"'{folder}': its tokenizer gives token {highest}, it has {largest}")
        module = load_weights(cls, config, folder, "", self._memory_gib)
        found = []
        with reading(folder):
            for one, its in zip(ids.split(1), mask.split(1), strict=True):
                more = {"attention_mask": its} if masked or getattr(config, "use_attention_mask", False) else {}
                found.append(module(input_ids=one, output_hidden_states=True, **more))
        return _joined(found), mask

    def _tokens(self, which: str, texts: Sequence[str], length: int | None) -> tuple[Tensor, Tensor]:
        from transformers import AutoTokenizer

        name = f"tokenizer{which}"
        if not self.pipeline.has(name):
            raise InputError(f"'{self.pipeline.folder}' has text_encoder{which} and no {name}")
        folder = self.pipeline.part(name)
        with reading(folder):
            tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            if length is None:
                _, config = _text_network(self.pipeline.part(f"text_encoder{which}"))
                most = getattr(config.get_text_config(), "max_position_embeddings", None)
                length = min(int(most or tokenizer.model_max_length), tokenizer.model_max_length)
            given = tokenizer(
                list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
            )
        return given["input_ids"], given["attention_mask"]


def _text_network(folder: Path) -> tuple[Any, Any]:
    """(class, configuration) of a text encoder."""
    import transformers

    file = folder / "config.json"
    written = read_json(file) if file.is_file() else {}
    check_code(file, written)
    check_counts(file, written)
    names = written.get("architectures") or [""]
    cls = getattr(transformers, str(names[0]), None)
    if cls is None:
        known = [each for each in dir(transformers) if "TextModel" in each or each.endswith("EncoderModel")]
        raise InputError(f"'{file}': architectures: transformers has no '{names[0]}'{nearest(str(names[0]), known)}")
    with reading(file):
        return cls, cls.config_class.from_pretrained(folder, local_files_only=True)


class _Joined(NamedTuple):
    first: Tensor  # of the outputs: the last hidden state, or the projected text of a model with a projection
    before_last: Tensor  # hidden state


def _joined(outputs: Sequence[Any]) -> _Joined:
    return _Joined(torch.cat([each[0] for each in outputs]), torch.cat([each.hidden_states[-2] for each in outputs]))


# ---- one function for each kind of pipeline, as diffusers encodes its prompts -----------------------


Encode = Callable[[_Encoders, Network, Sequence[str], tuple[int, int]], dict[str, Tensor]]


def _sd(encoders: _Encoders, _: Network, texts: Sequence[str], __: tuple[int, int]) -> dict[str, Tensor]:
    return {"encoder_hidden_states": encoders("", texts)[0].first}


def _sdxl(encoders: _Encoders, denoiser: Network, texts: Sequence[str], size: tuple[int, int]) -> dict[str, Tensor]:
    found = [encoders(which, texts)[0] for which in ("", "_2") if encoders.has(which)]
    pooled = found[-1].first
    if pooled.ndim != 2:
        raise InputError(
            f"'{encoders.pipeline.folder}': the last text encoder has no projection (CLIPTextModelWithProjection)"
        )
    refines = bool(encoders.pipeline.index.get("requires_aesthetics_score"))
    times = torch.tensor([[*size, 0, 0, *((6.0,) if refines else size)]]).expand(len(texts), -1).clone()
    if refines:
        times[-1, -1] = 2.5  # of the empty prompt, as StableDiffusionXLImg2ImgPipeline has it
    return {
        "encoder_hidden_states": torch.cat([each.before_last for each in found], dim=-1),
        "text_embeds": pooled,
        "time_ids": times.float(),
    }


def _sd3(encoders: _Encoders, denoiser: Network, texts: Sequence[str], _: tuple[int, int]) -> dict[str, Tensor]:
    clips = [encoders(which, texts)[0] for which in ("", "_2")]
    width = int(denoiser.get("joint_attention_dim"))
    clip = torch.cat([each.before_last for each in clips], dim=-1)
    if encoders.has("_3"):
        long = encoders("_3", texts, _T5_TOKENS)[0].first
    else:
        long = torch.zeros(len(texts), _T5_TOKENS, width)
    clip = torch.nn.functional.pad(clip, (0, width - clip.shape[-1]))
    return {
        "encoder_hidden_states": torch.cat([clip, long], dim=1),
        "pooled_projections": torch.cat([each.first for each in clips], dim=-1),
    }


def _pixart(encoders: _Encoders, denoiser: Network, texts: Sequence[str], size: tuple[int, int]) -> dict[str, Tensor]:
    length = _PIXART_TOKENS.get(str(encoders.pipeline.index.get("_class_name")), _T5_TOKENS)
    found, mask = encoders("", texts, length, masked=True)
    inputs = {"encoder_hidden_states": found.first, "encoder_attention_mask": mask.float()}
    if denoiser.get("use_additional_conditions", denoiser.get("sample_size") == 128):
        inputs["resolution"] = torch.tensor([[float(each) for each in size]]).expand(len(texts), -1).clone()
        inputs["aspect_ratio"] = torch.tensor([[size[0] / size[1]]]).expand(len(texts), -1).clone()
    return inputs
