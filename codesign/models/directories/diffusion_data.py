"""Inputs of a sampler: fixed noise, conditions from prompts, classes or arrays, and images that the denoiser sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from codesign.errors import InputError
from codesign.models.directories import autoencoders, prompts
from codesign.models.directories import data as sources
from codesign.models.directories.data import Split
from codesign.models.directories.diffusers_files import Network, Pipeline
from codesign.models.directories.options import TaskOptions
from codesign.models.directories.sampler import CONCATENATED, NEGATIVE, NOISE, SEED, Sampler

SAMPLES, BATCH = 8, 4
_CALIBRATION_SEED = 1 << 20  # seeds of calibration begin here, those of evaluation at 0
_NOISE_LEVEL = 20  # of a low-resolution image, the default of StableDiffusionUpscalePipeline in diffusers
_FACTOR = 8  # of latents, where the directory has no autoencoder
Inputs = dict[str, Tensor]


@dataclass(frozen=True)
class SamplerData:
    """Where the inputs of a pipeline's sampler come from."""

    pipeline: Pipeline
    denoiser: Network
    sampler: Sampler
    options: TaskOptions
    base: Path

    def split(self) -> Split:
        """Inputs in batches; the noise of a sample depends on its place alone, and none both calibrates and is scored.

        Raises InputError if the options do not suit the denoiser.
        """
        first, second = self._halves()
        shared = self.options.shared
        parts = (self._with_noise(first, _CALIBRATION_SEED), self._with_noise(second, 0))
        return Split(*(sources.in_batches(part, self.options.batch or BATCH, shared) for part in parts))

    # ---- sizes -------------------------------------------------------------------------------------

    @property
    def channels(self) -> int:
        """Of the sample: what the denoiser sees besides is concatenated."""
        out, seen = int(self.denoiser.get("out_channels", self._seen)), self._seen
        if self._autoencoder is not None:
            return min(int(self._autoencoder.get("latent_channels", out)), seen)
        return min(out, seen)  # out may be twice as much, with a variance

    @property
    def _seen(self) -> int:
        return int(self.denoiser.get("in_channels", 0))

    @cached_property
    def _autoencoder(self) -> Network | None:
        return self.pipeline.autoencoder()

    @cached_property
    def _factor(self) -> int:
        if self._autoencoder is not None:
            return autoencoders.factor(self._autoencoder)
        return 1 if self.denoiser.name == "UNet2DModel" else _FACTOR

    @cached_property
    def sides(self) -> tuple[int, int]:
        """Height and width of the sample that the denoiser makes, by `size` or as it was trained."""
        size = self.options.size
        if size is not None:
            halved = len(self.denoiser.get("block_out_channels", [1])) - 1 if self.denoiser.name == "UNet2DModel" else 0
            unit = self._factor * int(self.denoiser.get("patch_size", 1)) * 2**halved
            side = autoencoders.divisible(size, unit, "size", self.denoiser) // self._factor
            return side, side
        written = self.denoiser.get("sample_size")
        if written is None:
            raise InputError(f"size: '{self.denoiser.folder / 'config.json'}' has no sample_size; give the image's")
        height, width = written if isinstance(written, (list, tuple)) else (written, written)
        return int(height), int(width)

    @property
    def _pixels(self) -> tuple[int, int]:
        return self.sides[0] * self._factor, self.sides[1] * self._factor

    # ---- parts -------------------------------------------------------------------------------------

    def _halves(self) -> tuple[Inputs, Inputs]:
        """Inputs without noise, to calibrate with and to evaluate on."""
        options = self.options
        given = self._path(options.data)
        extra = self._seen - self.channels
        if options.prompts and not extra:
            raise InputError("prompts: goes with a folder of images in 'data'; name the text file in 'data' itself")
        if given is not None and given.suffix in sources.ARRAYS:
            return self._from_arrays(given)
        if options.shared:
            raise InputError("shared: names inputs of an .npz or .safetensors in 'data'")
        if extra:
            return self._from_images(given, extra)
        given_any = given or self._path(options.calibration)
        if given_any is not None and not prompts.takes_prompts(self.pipeline):
            why = "has no text encoder" if self._takes_text else "takes no prompts"
            raise InputError(
                f"data: '{self.pipeline.folder}' {why}, for which '{given_any}' would be; leave it out, or name an "
                f".npz or .safetensors of its denoiser's inputs ({', '.join(self._own)})"
            )
        first, second = self._prompts(given, self._path(options.calibration))
        return self._conditions(first), self._conditions(second)

    def _path(self, written: str) -> Path | None:
        return self.base / Path(written).expanduser() if written else None

    @property
    def _takes_text(self) -> bool:
        return "encoder_hidden_states" in self.denoiser.inputs

    def _prompts(self, given: Path | None, calibration: Path | None, count: int | None = None) -> list[list[str]]:
        """Prompts to calibrate with and to evaluate on; with fewer prompts than samples, each is used again."""
        known = prompts.read_prompts(given) if given is not None else list(prompts.PROMPTS)
        if calibration is not None:
            parts = [prompts.read_prompts(calibration), known]
        elif len(known) == 1:
            raise InputError(f"data: '{given}' holds one prompt: two at least, one calibrates and one is evaluated")
        else:
            parts = [known[: len(known) // 2], known[len(known) // 2 :]]
        count = count or self.options.sequences or min(SAMPLES, len(parts[1]))
        return [[part[i % len(part)] for i in range(count)] for part in parts]

    def _conditions(self, texts: Sequence[str], noise_level: int | None = None) -> Inputs:
        """Inputs of the denoiser for these prompts; where it takes none, of as many samples."""
        count, found = len(texts), Inputs()
        guided = self.sampler.guided
        if prompts.takes_prompts(self.pipeline):
            inputs, negative = prompts.encode(
                self.pipeline, self.denoiser, texts, self._pixels, self.options.memory_gib
            )
            found |= inputs
            if guided:
                found |= {NEGATIVE + key: x.expand(count, *x.shape[1:]) for key, x in negative.items()}
        elif self._takes_text and self.denoiser.name != "UNet2DModel":
            raise InputError(
                f"'{self.pipeline.folder}' has no text encoder: name an .npz or .safetensors of its denoiser's inputs "
                f"in 'data' ({', '.join(self._own)})"
            )
        if noise_level is not None:
            found["class_labels"] = torch.full((count,), noise_level)
        else:
            found |= self._classes(count)
        if guided and not any(key.startswith(NEGATIVE) for key in found):
            raise InputError(f"guidance: '{self.denoiser.folder}' takes no condition to guide by; leave it out")
        return found

    def _classes(self, count: int) -> Inputs:
        """Classes spread over all of a class-conditional denoiser."""
        transformer = self.denoiser.name == "DiTTransformer2DModel"
        classes = self.denoiser.get("num_embeds_ada_norm" if transformer else "num_class_embeds")
        kind = self.denoiser.get("class_embed_type")
        if self.denoiser.name not in ("DiTTransformer2DModel", "UNet2DModel", "UNet2DConditionModel"):
            return {}
        if kind is not None:
            raise InputError(
                f"'{self.denoiser.folder}' takes class_labels of kind '{kind}': name an .npz or .safetensors of its "
                "inputs in 'data'"
            )
        if classes is None:
            return {}
        found = {"class_labels": torch.arange(count) * int(classes) // count}
        if transformer and self.sampler.guided:  # the embedding after the last class is that of none
            found[NEGATIVE + "class_labels"] = torch.full((count,), int(classes))
        return found

    @property
    def _own(self) -> list[str]:
        """Names of the denoiser's conditions."""
        return [key for key in self.denoiser.inputs if key not in ("sample", "hidden_states", "timestep")]

    def _from_arrays(self, given: Path) -> tuple[Inputs, Inputs]:
        options = self.options
        if options.size or options.prompts:
            raise InputError(f"{'size' if options.size else 'prompts'}: goes with images, not with '{given}'")
        known = [*self._own, *(NEGATIVE + key for key in self._own), NOISE, CONCATENATED]
        first, second = sources.halves(given, self._path(options.calibration), known, options.shared, options.sequences)
        if self.sampler.guided and not any(key.startswith(NEGATIVE) for key in second):
            raise InputError(f"guidance: '{given}' has no {NEGATIVE}... inputs to lead away from")
        extra = self._seen - self.channels
        if extra and CONCATENATED not in second:
            raise InputError(f"data: '{given}' has no '{CONCATENATED}', the {extra} channels after those of the sample")
        return first, second

    def _with_noise(self, inputs: Inputs, seed: int) -> Inputs:
        count = len(next((x for key, x in inputs.items() if key not in self.options.shared), torch.empty(0)))
        count = count or self.options.sequences or SAMPLES
        seeds = seed + torch.arange(count)
        found = {NOISE: noise(seeds, (self.channels, *self.sides))} if NOISE not in inputs else {}
        return {**found, SEED: seeds, **inputs}

    # ---- images that the denoiser sees -------------------------------------------------------------

    def _from_images(self, given: Path | None, extra: int) -> tuple[Inputs, Inputs]:
        """Inpainting, image editing and super-resolution: images of a folder, each with a prompt."""
        if given is None:
            raise InputError(
                f"data: the denoiser sees {extra} channels of an image besides its own: name a folder of images"
            )
        sides = self.sides if extra == 3 else self._pixels
        images = sources.pictures(given, *sides, [0.5] * 3, [0.5] * 3)
        calibration = self._path(self.options.calibration)
        if calibration is not None:
            parts = [sources.pictures(calibration, *sides, [0.5] * 3, [0.5] * 3), images]
        else:
            parts = [images[::2], images[1::2]]
        count = min(self.options.sequences or SAMPLES, *map(len, parts))
        texts = self._prompts(self._path(self.options.prompts), None, count)
        halves = []
        for part, words, seed in zip(parts, texts, (_CALIBRATION_SEED, 0), strict=True):
            level, seen = self._seen_besides(part[:count], extra, seed + torch.arange(count))
            halves.append({**self._conditions(words, level), CONCATENATED: seen})
        return halves[0], halves[1]

    def _seen_besides(self, images: Tensor, extra: int, seeds: Tensor) -> tuple[int | None, Tensor]:
        """(noise level or None, channels that are concatenated [n, extra, H, W])."""
        if extra == 3:
            if not self.pipeline.has("low_res_scheduler"):
                return None, images
            scheduler = self.pipeline.scheduler("low_res_scheduler")
            level = torch.tensor([_NOISE_LEVEL])
            return _NOISE_LEVEL, scheduler.add_noise(images, noise(seeds, tuple(images.shape[1:])), level)
        if extra not in (self.channels, self.channels + 1) or self._autoencoder is None:
            raise InputError(
                f"'{self.denoiser.folder}' sees {extra} channels besides the {self.channels} of the sample, which are "
                f"not those of inpainting ({self.channels + 1}, with the autoencoder), editing ({self.channels}) or "
                f"super-resolution (3): name an .npz or .safetensors with '{CONCATENATED}' in 'data'"
            )
        whole = self._autoencoder.weights(self.options.memory_gib)
        if extra == self.channels:
            return None, autoencoders.encoded(whole, images)
        mask = masks(seeds, tuple(images.shape[-2:]))
        latents = autoencoders.scaled(self._autoencoder, autoencoders.encoded(whole, images * (mask < 0.5)))
        return None, torch.cat([F.interpolate(mask, size=self.sides), latents], dim=1)


def noise(seeds: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise [n, *shape], each sample's by its own seed."""
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(int(each))) for each in seeds])


def masks(seeds: Tensor, sides: tuple[int, ...]) -> Tensor:
    """A rectangle to be filled in each image, at a random place: [n, 1, H, W], 1 inside; its sides are a third to two
    thirds of the image's."""
    found = torch.zeros(len(seeds), 1, *sides)
    for mask, seed in zip(found, seeds, strict=True):
        generator = torch.Generator().manual_seed(int(seed))
        places = []
        for side in sides:
            share, start = torch.rand(2, generator=generator).tolist()
            length = max(round(side * (1 + share) / 3), 1)
            begin = round((side - length) * start)
            places.append(slice(begin, begin + length))
        mask[:, places[0], places[1]] = 1
    return found
