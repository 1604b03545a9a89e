"""Metrics of images, latents and other dense outputs against the float network's, sample by sample."""

from __future__ import annotations

import torch
from torch import Tensor

from codesign.errors import InputError, nearest
from codesign.models.losses import Loss, Metric, squared_error
from codesign.models.probes import rademacher


def mse_to_float(outputs: Tensor, reference: Tensor) -> Tensor:
    """Mean squared error over that of the float outputs around zero, [n]: 1 is as bad as an output of zeros."""
    size = reference.float().square().flatten(1).mean(1).clamp_min(1e-30)
    return squared_error(outputs, reference) / size


def psnr_to_float(outputs: Tensor, reference: Tensor) -> Tensor:
    """PSNR in dB with the float output's range as the peak, at most 120, [n]."""
    flat = reference.float().flatten(1)
    peak = flat.max(1).values - flat.min(1).values
    ratio = squared_error(outputs, reference) / peak.square().clamp_min(1e-30)
    return -10 * ratio.clamp_min(1e-12).log10()


def ssim_to_float(outputs: Tensor, reference: Tensor) -> Tensor:
    """Structural similarity of images [n, C, H, W], [n] (Wang et al., 2004), with the float output's range."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    def of_one(output: Tensor, floats: Tensor) -> Tensor:
        reach = float(floats.max() - floats.min()) or 1.0
        return torch.as_tensor(
            structural_similarity_index_measure(output, floats, data_range=reach, kernel_size=7, sigma=1.0)
        )

    pairs = zip(outputs.float().split(1), reference.float().split(1), strict=True)
    return torch.stack([of_one(*pair) for pair in pairs])


def _probe(outputs: Tensor, generator: torch.Generator) -> Tensor:
    size = outputs.detach().float().square().flatten(1).mean(1).clamp_min(1e-30).sqrt()
    return rademacher(outputs / size.reshape(-1, *[1] * (outputs.ndim - 1)), generator)


MSE = Loss(mse_to_float, unit="of the float output's power", probe=_probe)
LOSSES = {"mse_to_float": MSE}
LEAST_SSIM = 16  # pixels of a side, twice the window and its border
PSNR = Metric(psnr_to_float, unit="dB")
SSIM = Metric(ssim_to_float)


def metrics(name: str, side: int) -> tuple[Loss, list[Metric]]:
    """The loss of this name that decides ('' for the usual one), and what a report shows of outputs of this size.

    Raises InputError on an unknown name.
    """
    if name and name not in LOSSES:
        raise InputError(f"metric: unknown metric '{name}'{nearest(name, LOSSES)}")
    return LOSSES[name] if name else MSE, [PSNR, SSIM] if side >= LEAST_SSIM else [PSNR]
