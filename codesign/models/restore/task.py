"""`RestoreTask`: the U-Net with its held-out photographs and metrics."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from codesign.errors import InputError
from codesign.models.probes import rademacher
from codesign.models.restore import metrics
from codesign.models.restore.dataset import DATA, Batch, SampleSet, load_samples
from codesign.models.restore.diffusion import STEPS, sample
from codesign.models.restore.network import TASKS, RestoreUNet
from codesign.models.restore.photographs import SIZE
from codesign.models.task import Example, ImageExample, Outputs, Part, Samples, Task
from codesign.workload import Workload, trace

DECIDING_CROPS = 6  # held-out crops of the deciding metric; the full report uses all
_PART_CROPS = 2
EXAMPLES_PER_TASK = 2
_CHUNK = DECIDING_CROPS * len(TASKS)  # images per pass, which bounds the memory of a full run


class RestoreTask(Task):
    """Super-resolution, deblurring, inpainting and outpainting by one 4-step consistency model.

    Deciding metric ``output_error``: log10 of the mean squared error against the float network's images from the same
    noise (pixels in 0..1), mean over the four tasks, always on the first DECIDING_CROPS crops, so that quick and full
    evaluations agree. All other metrics use every crop that was run.
    Outputs: ``images`` [crops * 4, 3, SIZE, SIZE], not clamped; the four tasks of a crop are consecutive.
    """

    deciding, unit, scale = "output_error", "log10 MSE", "log10"

    def __init__(self, module: nn.Module, held_out: SampleSet, calibration: SampleSet, seed: int = 0) -> None:
        self.name = "restore"
        self.module = module.eval()
        self.seed = seed
        self._sets = (held_out, calibration)
        self._held_out, self._calibration = Batch.of(held_out), Batch.of(calibration)
        self._noise = chain_noise(len(self._held_out), STEPS, seed)
        self._calibration_noise = chain_noise(len(self._calibration), STEPS, seed + 1)

    def calibrate(self, module: nn.Module) -> None:
        """All four steps of all four tasks on crops of training photographs."""
        restore(module, self._calibration, self._calibration_noise)

    def run(self, module: nn.Module, *, full: bool = False) -> Outputs:
        """Four steps, all tasks in one batch; ``full`` restores every held-out crop. Raises InputError on NaN."""
        rows = slice(None) if full else slice(_CHUNK)
        images = restore(module, self._held_out[rows], self._noise[:, rows])
        if not bool(torch.isfinite(images.detach()).all()):
            raise InputError(f"restore: {_why_not_finite(module)}")
        return {"images": images}

    def score(self, outputs: Outputs, reference: Outputs, *, full: bool = False) -> list[Samples]:
        """output_error, psnr_to_float; PSNR and SSIM against the truth.

        psnr_<task> and ssim_<task> are over whole images, psnr_inpaint_hole and psnr_outpaint_hole over the missing
        pixels only. Distances between distributions of images (KID, FID) mean nothing over so few crops.
        """
        ours, float_ = outputs["images"].detach(), reference["images"].detach()
        errors = (ours - float_).double().square().flatten(1).mean(dim=1).view(-1, len(TASKS)).numpy()
        samples = [metrics.output_error(errors[:DECIDING_CROPS]), metrics.psnr_to_float(errors)]
        batch = self._held_out[: len(ours)]
        return samples + truth_metrics(ours.clamp(0, 1), batch)

    def probe(self, outputs: Outputs, generator: torch.Generator) -> Tensor:
        """A Rademacher probe over all pixels: E[(grad . delta)^2] is the mean squared error over images and tasks."""
        return rademacher(outputs["images"], generator)

    def sample_count(self) -> int:
        """Crops that decide."""
        return min(DECIDING_CROPS, len(self._held_out) // len(TASKS))

    def some(self, rows: Sequence[int]) -> RestoreTask:
        """With some crops."""
        images = (torch.tensor(rows)[:, None] * len(TASKS) + torch.arange(len(TASKS))).flatten()
        smaller = copy.copy(self)
        smaller._held_out, smaller._noise = self._held_out[images], self._noise[:, images]
        return smaller

    def part(self) -> Part:
        """The first crops."""
        smaller = self.some(range(_PART_CROPS))
        return Part(smaller, np.arange(_PART_CROPS), _PART_CROPS / DECIDING_CROPS)

    def workload(self) -> Workload:
        """One image of SIZE x SIZE pixels: four passes of the U-Net."""
        batch = self._held_out[:1]
        inputs = (batch.degraded, batch.degraded, batch.mask, torch.ones(1), batch.task)
        return trace(self.module, inputs, name=self.name, phase="denoise", repeats=STEPS)

    def data_arrays(self) -> Iterable[np.ndarray]:
        for part in self._sets:
            yield from (part.clean, part.degraded, part.mask)

    def examples(self, outputs: Outputs, reference: bool = False) -> dict[str, list[Example]]:
        """Labelled images, uint8 [SIZE, SIZE, 3], from outputs of ``run(full=True)``: two crops per task.

        Key ``output``; with `reference` also ``input`` (missing pixels grey) and ``truth``.
        """
        batch = self._held_out[: len(outputs["images"])]
        kinds = {"output": outputs["images"].detach()}
        if reference:
            kinds |= {"input": to_unit(batch.degraded.masked_fill(batch.mask > 0, 0.0)), "truth": to_unit(batch.clean)}
        return {kind: [_example(images, *where) for where in _example_rows()] for kind, images in kinds.items()}


def restore(module: nn.Module, batch: Batch, noise: Tensor) -> Tensor:
    """Images [n,3,H,W] in 0..1 (not clamped) after ``len(noise)`` steps of `module` from `noise` [steps,n,3,H,W]."""
    parts = []
    for start in range(0, len(batch), _CHUNK):
        rows = slice(start, start + _CHUNK)
        part = batch[rows]
        predict = functools.partial(_predict, module, part)
        parts.append(to_unit(sample(predict, part.degraded, noise[:, rows])))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def truth_metrics(images: Tensor, batch: Batch) -> list[Samples]:
    """PSNR and SSIM of each task, and PSNR over holes for tasks with holes; images: [n,3,H,W] in 0..1."""
    truth, samples = to_unit(batch.clean), []
    for index, task in enumerate(TASKS):
        rows = slice(index, None, len(TASKS))
        samples.append(metrics.psnr(task, images[rows], truth[rows]))
        if bool(batch.mask[rows].any()):
            samples.append(metrics.hole_psnr(task, images[rows], truth[rows], batch.mask[rows]))
        samples.append(metrics.ssim(task, images[rows], truth[rows]))
    return samples


def chain_noise(images: int, steps: int, seed: int) -> Tensor:
    """Seeded noise [steps, images, 3, SIZE, SIZE]; that of the first images does not depend on the batch size."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images, steps, 3, SIZE, SIZE, generator=generator).transpose(0, 1)


def to_unit(images: Tensor) -> Tensor:
    """Map -1..1 to 0..1."""
    return (images + 1) / 2


def load_network(path: Path = DATA / "restore.safetensors") -> RestoreUNet:
    """The trained U-Net in float32; raises InputError if the file is missing, damaged or holds NaN."""
    if not path.exists():
        raise InputError(f"{path}: no such file; train it with: python -m codesign.models.restore.train")
    network = RestoreUNet()
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    except (SafetensorError, RuntimeError) as error:
        raise InputError(f"{path}: not weights of the restore network ({str(error).splitlines()[0]})") from None
    for name, tensor in network.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{path}: weight '{name}' holds NaN or infinity")
    # convolutions on a CPU are a fifth faster with the channels last, block formats a quarter
    return network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]  # not in torch's stubs


def load() -> RestoreTask:
    """The bundled task."""
    samples = load_samples()
    return RestoreTask(load_network(), samples["held_out"], samples["calibration"])


def _predict(module: nn.Module, batch: Batch, noisy: Tensor, time: Tensor) -> Tensor:
    clean: Tensor = module(noisy, batch.degraded, batch.mask, time, batch.task)
    return clean


def _why_not_finite(module: nn.Module) -> str:
    for name, parameter in module.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            return f"weight '{name}' holds NaN or infinity"
    return "the network's outputs hold NaN or infinity"


def _example_rows() -> list[tuple[int, str]]:
    """(row, label) of the first crops of each task."""
    return [
        (crop * len(TASKS) + index, f"{task} {crop + 1}")
        for index, task in enumerate(TASKS)
        for crop in range(EXAMPLES_PER_TASK)
    ]


def _example(images: Tensor, row: int, label: str) -> ImageExample:
    pixels = (images[row].clamp(0, 1) * 255).round().to(torch.uint8)
    return ImageExample(label, pixels.permute(1, 2, 0).contiguous().numpy())
