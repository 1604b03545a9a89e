"""Image metrics of `restore`, with one row per crop, so that crops can be resampled.

Images are [n,3,H,W] in 0..1.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure
from torchmetrics.image.kid import poly_kernel

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
    values = peak_signal_noise_ratio(images, truth, data_range=1.0, reduction="none", dim=(1, 2, 3))
    return Samples(f"psnr_{task}", "dB", "maximize", values.double().numpy(), _mean)


def hole_psnr(task: str, images: Tensor, truth: Tensor, mask: Tensor) -> Samples:
    """Mean PSNR over the missing pixels only; mask: [n,1,H,W], 1 at missing pixels, of which every image has some."""
    error = ((images - truth).square() * mask).double().flatten(1).sum(dim=1)
    mse = error / (mask.double().flatten(1).sum(dim=1) * images.shape[1])
    return Samples(f"psnr_{task}_hole", "dB", "maximize", -10 * mse.clamp_min(FLOOR).log10().numpy(), _mean)


def ssim(task: str, images: Tensor, truth: Tensor) -> Samples:
    """Mean structural similarity (Wang et al., 2004)."""
    values = structural_similarity_index_measure(images, truth, data_range=1.0, reduction="none")
    assert isinstance(values, Tensor)
    return Samples(f"ssim_{task}", "", "maximize", values.double().numpy(), _mean)


def kid(images: Tensor, truth: Tensor) -> Samples:
    """Kernel distance between feature sets: images [crops, tasks, D] against truth [crops, D]; mean over tasks.

    KID (Bińkowski et al., 2018) is the unbiased MMD^2 under k(a, b) = (a.b / D + 1)^3. A crop occurs in both
    sets, so the estimator for paired samples is taken: the mean over pairs i != j of
    h(i, j) = k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(x_j, y_i) (Gretton et al., 2012, eq. 4). It
    may be negative. `values` are indices of crops into h, so that a resample only needs a look-up; copies of one crop
    in a resample do not count as pairs.
    """
    pairs = _paired_kernel(images.double(), truth.double())

    def reduce(rows: np.ndarray) -> float:
        index = rows.astype(int)
        different = index[:, None] != index[None, :]
        return float(pairs[np.ix_(index, index)][different].mean()) if different.any() else 0.0

    values = np.arange(len(truth), dtype=float)
    values[~np.isfinite(pairs).all(axis=1)] = np.nan
    return Samples("kid", "", "minimize", values, reduce)


def _paired_kernel(images: Tensor, truth: Tensor) -> np.ndarray:
    """h(i, j), mean over tasks, [crops, crops]."""
    per_task = []
    for x in images.unbind(dim=1):
        cross = poly_kernel(x, truth)
        per_task.append(poly_kernel(x, x) + poly_kernel(truth, truth) - cross - cross.T)
    matrix: np.ndarray = torch.stack(per_task).mean(dim=0).numpy()
    return matrix


def _mean(rows: np.ndarray) -> float:
    return float(rows.mean())
