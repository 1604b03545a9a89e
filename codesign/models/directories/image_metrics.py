"""Metrics of images, latents and other dense outputs against the float network's, sample by sample."""

from __future__ import annotations

import torch
from torch import Tensor

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

    reach = float(reference.max() - reference.min()) or 1.0
    found = structural_similarity_index_measure(
        outputs.float(), reference.float(), data_range=reach, reduction="none", kernel_size=7, sigma=1.0
    )
    return torch.as_tensor(found).reshape(len(outputs))


def _probe(outputs: Tensor, generator: torch.Generator) -> Tensor:
    size = outputs.detach().float().square().flatten(1).mean(1).clamp_min(1e-30).sqrt()
    return rademacher(outputs / size.reshape(-1, *[1] * (outputs.ndim - 1)), generator)


MSE = Loss(mse_to_float, unit="of the float output's power", probe=_probe)
LOSSES = {"mse_to_float": MSE}
PSNR = Metric(psnr_to_float, unit="dB")
SSIM = Metric(ssim_to_float)
