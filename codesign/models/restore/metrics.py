"""Image metrics of `restore`, with one row per crop, so that crops can be resampled.

Images are [n,3,H,W] in 0..1.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from codesign.models.task import LEAST_RAW, Samples

FLOOR = LEAST_RAW  # smallest mean squared error


def output_error(errors: np.ndarray) -> Samples:
    """log10 of the mean squared error against the float network, mean over tasks; errors: [crops, tasks], per image."""
    return Samples("output_error", "log10 MSE", "minimize", errors, mean_log10)


def psnr_to_float(errors: np.ndarray) -> Samples:
    """`output_error` as a PSNR, over all crops that were run; errors: [crops, tasks]."""
    return Samples("psnr_to_float", "dB", "maximize", errors, lambda rows: -10 * mean_log10(rows))


def mean_log10(rows: np.ndarray) -> float:
    """Mean over tasks of log10 of the mean over rows."""
    return float(np.log10(np.maximum(rows.mean(axis=0), FLOOR)).mean())


def psnr(task: str, images: Tensor, truth: Tensor) -> Samples:
    """Mean PSNR of whole images."""
    from torchmetrics.functional.image import peak_signal_noise_ratio  # takes seconds, which few commands need

    values = peak_signal_noise_ratio(images, truth, data_range=1.0, reduction="none", dim=(1, 2, 3))
    return Samples(f"psnr_{task}", "dB", "maximize", values.double().numpy(), _mean)


def hole_psnr(task: str, images: Tensor, truth: Tensor, mask: Tensor) -> Samples:
    """Mean PSNR over the missing pixels only; mask: [n,1,H,W], 1 at missing pixels, of which every image has some."""
    error = ((images - truth).square() * mask).double().flatten(1).sum(dim=1)
    mse = error / (mask.double().flatten(1).sum(dim=1) * images.shape[1])
    return Samples(f"psnr_{task}_hole", "dB", "maximize", -10 * mse.clamp_min(FLOOR).log10().numpy(), _mean)


def ssim(task: str, images: Tensor, truth: Tensor) -> Samples:
    """Mean structural similarity (Wang et al., 2004)."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    values = structural_similarity_index_measure(images, truth, data_range=1.0, reduction="none")
    assert isinstance(values, Tensor)
    return Samples(f"ssim_{task}", "", "maximize", values.double().numpy(), _mean)


def _mean(rows: np.ndarray) -> float:
    return float(rows.mean())
