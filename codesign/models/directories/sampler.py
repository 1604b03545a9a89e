"""The sampler of a diffusion network: its denoiser in every step of the directory's own scheduler, from fixed noise."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from codesign.errors import InputError
from codesign.models.custom import CustomTask
from codesign.models.directories.diffusers_files import ADDED, Network
from codesign.workload import Workload, trace

NOISE, SEED, CONCATENATED, NEGATIVE = "noise", "seed", "concatenated", "negative_"
LCM_STEPS, STEPS = 4, 8
_STEP_NOISE = 1 << 32  # added to a sample's seed for the noise that a stochastic scheduler adds in its steps
# the first argument of forward, that of the noisy sample
_SAMPLED = {
    "UNet2DModel": "sample",
    "UNet2DConditionModel": "sample",
    "DiTTransformer2DModel": "hidden_states",
    "PixArtTransformer2DModel": "hidden_states",
    "SD3Transformer2DModel": "hidden_states",
}


def is_sampled(denoiser: Network) -> bool:
    """Whether the sampler knows how to call this class."""
    return denoiser.name in _SAMPLED


def check_sampled(denoiser: Network) -> None:
    """Raise InputError for a denoiser that is called in a way of its own."""
    if not is_sampled(denoiser):
        raise InputError(
            f"'{denoiser.folder / 'config.json'}': the sampler knows {', '.join(_SAMPLED)}, and not {denoiser.name}: "
            f"give diffusers:{denoiser.folder}, which is called once a sample"
        )


def nested(inputs: Mapping[str, Any], takes_added: bool) -> Mapping[str, Any]:
    """Inputs as the denoiser takes them: some in a dict of their own."""
    if not takes_added:
        return dict(inputs)
    added = {key: x for key, x in inputs.items() if key in ADDED}
    plain = {key: x for key, x in inputs.items() if key not in ADDED}
    return {**plain, "added_cond_kwargs": added} if added else plain


@dataclass(frozen=True, eq=False)
class Sampler:
    """Steps of a scheduler. Inputs of a batch: noise [n, C, H, W], seed [n], conditions by the denoiser's names.

    With ``concatenated`` [n, E, H, W] the denoiser sees these channels after those of the sample; inputs called
    ``negative_NAME`` are the conditions that guidance leads away from.
    """

    scheduler: Any
    denoiser: Network
    steps: int
    guidance: float
    shared: frozenset[str] = frozenset()

    @cached_property
    def takes_guidance(self) -> bool:
        """Whether the denoiser takes the scale of guidance as an input (latent consistency models)."""
        return bool(self.denoiser.get("time_cond_proj_dim"))

    @property
    def guided(self) -> bool:
        """Whether each step runs the denoiser on two conditions."""
        return self.guidance != 1 and not self.takes_guidance

    def _generators(self, seeds: Sequence[int]) -> dict[str, list[torch.Generator]]:
        """A source of noise for each sample, if the scheduler's steps add some."""
        if "generator" not in inspect.signature(self.scheduler.step).parameters:
            return {}
        return {"generator": [torch.Generator().manual_seed(_STEP_NOISE + seed) for seed in seeds]}

    def forward(self, module: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
        """The samples [n, C, H, W] after all steps."""
        noise = inputs[NOISE]
        scheduler = self.started(noise)
        x = noise * float(getattr(scheduler, "init_noise_sigma", 1.0))
        conditions = self._conditions(inputs)
        more = self._generators(inputs[SEED].tolist())
        for time in scheduler.timesteps:
            predicted = self._predicted(module, self._seen(scheduler, x, time), time, conditions)
            x = scheduler.step(self._kept(predicted, x), time, x, return_dict=False, **more)[0]
        return x

    def once(self, module: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
        """What the denoiser predicts in the first step."""
        noise = inputs[NOISE]
        return self._predicted(module, noise, self.started(noise).timesteps[0], self._conditions(inputs))

    def started(self, noise: Tensor) -> Any:
        """A scheduler at its first step; its ``timesteps`` are the calls of the denoiser."""
        scheduler = copy.deepcopy(self.scheduler)
        more: dict[str, float] = {}
        if scheduler.config.get("use_dynamic_shifting"):
            more["mu"] = self._shift(scheduler.config, noise)
        scheduler.set_timesteps(self.steps, device=noise.device, **more)
        return scheduler

    def tried(self) -> None:
        """Runs all steps of the scheduler on two small samples, for what it raises."""
        x = torch.zeros(2, 1, 8, 8)
        scheduler, more = self.started(x), self._generators([0, 1])
        for time in scheduler.timesteps:
            self._seen(scheduler, x, time)
            x = scheduler.step(x, time, x, return_dict=False, **more)[0]
        if x.shape != (2, 1, 8, 8):
            raise ValueError(f"its steps change the shape of the sample to {list(x.shape)}")

    def calls(self, noise: Tensor) -> int:
        """Calls of the denoiser for a sample: more than the steps where a step is of higher order."""
        return len(self.started(noise).timesteps)

    def work(self, task: CustomTask) -> Workload:
        """The work of one sample: a call of the denoiser, in the phase denoise, as often as the sampler calls it."""
        batch = task.evaluation.first().inputs
        one = {key: x if key in self.shared else x[:1] for key, x in batch.items()}
        return trace(
            task.module,
            one,
            name=task.name,
            phase="denoise",
            repeats=self.calls(one[NOISE]),
            unseen=task.unseen,
            forward=self.once,
        )

    # ---- one call of the denoiser ----------------------------------------------------------------

    def _seen(self, scheduler: Any, x: Tensor, time: Tensor) -> Tensor:
        """The sample as the denoiser sees it."""
        found: Tensor = scheduler.scale_model_input(x, time) if hasattr(scheduler, "scale_model_input") else x
        return found

    def _conditions(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The denoiser's inputs besides sample and time; with guidance the negative ones, then the others."""
        found = {}
        for key, x in inputs.items():
            if key in (NOISE, SEED) or key.startswith(NEGATIVE):
                continue
            if self.guided and key not in self.shared:
                x = torch.cat([inputs.get(NEGATIVE + key, x), x])
            found[key] = x
        if self.takes_guidance:
            found["timestep_cond"] = self._embedded(inputs[NOISE])
        return found

    def _predicted(self, module: nn.Module, x: Tensor, time: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
        both = torch.cat([x, x]) if self.guided else x
        others = dict(conditions)
        if CONCATENATED in others:
            both = torch.cat([both, others.pop(CONCATENATED)], dim=1)
        sampled = {_SAMPLED[self.denoiser.name]: both, "timestep": time.expand(len(both))}
        predicted: Tensor = module(**nested(others, self.denoiser.takes_added), **sampled, return_dict=False)[0]
        if not self.guided:
            return predicted
        away, towards = predicted.chunk(2)
        return away + self.guidance * (towards - away)

    def _kept(self, predicted: Tensor, x: Tensor) -> Tensor:
        """The prediction without its variance, unless the scheduler uses it."""
        learned = str(self.scheduler.config.get("variance_type")).startswith("learned")
        return predicted[:, : x.shape[1]] if predicted.shape[1] == 2 * x.shape[1] and not learned else predicted

    def _embedded(self, noise: Tensor) -> Tensor:
        """The scale of guidance as sinusoids [n, time_cond_proj_dim] (Luo et al., "Latent Consistency Models", 2023).

        As in LatentConsistencyModelPipeline of diffusers: of guidance - 1, times 1000.
        """
        width = int(self.denoiser.get("time_cond_proj_dim"))
        rate = torch.log(torch.tensor(10000.0)) / (width // 2 - 1)
        angles = 1000 * (self.guidance - 1) * torch.exp(torch.arange(width // 2) * -rate)
        found = torch.cat([angles.sin(), angles.cos(), torch.zeros(width % 2)])
        return found.expand(len(noise), width).to(noise)

    def _shift(self, config: Mapping[str, Any], noise: Tensor) -> float:
        """The shift of the timesteps by image size, as in StableDiffusion3Pipeline of diffusers."""
        patch = int(self.denoiser.get("patch_size", 1))
        tokens = (noise.shape[-2] // patch) * (noise.shape[-1] // patch)
        few, many = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
        least, most = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
        return float(least + (most - least) * (tokens - few) / (many - few))
