"""A pool of degraded crops to train on: ``python -m codesign.models.restore.pool --out DIR --crops 12000``.

Degrading a crop takes as long as a tenth of a training step, most of it for the holes; so the crops of the training
photographs are degraded once and stored. A batch draws from the pool and turns, mirrors and recolours what it draws.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from codesign.errors import InputError
from codesign.models.restore.dataset import Batch, signed, textured_crops, to_bytes
from codesign.models.restore.degrade import degrade, hole
from codesign.models.restore.network import TASKS
from codesign.models.restore.photographs import (
    SIZE,
    TRAINING,
    TRAINING_WALLPAPERS,
    Photograph,
    augmented,
    dead_leaves,
    read,
)

SYNTHETIC_SHARE = 0.1
TASK_SHARES = (0.36, 0.36, 0.2, 0.08)  # of training images, in the order of `network.TASKS`
_SMALLEST, _LARGEST = (
    130,
    1000,
)  # shorter side of a photograph when it is cropped, pixels; that of held-out ones is alike
_VERSIONS = 16  # sizes of each photograph
_CROPS_PER_HOLE = 24  # crops that share a mask, since its weights are what takes time
_FIELDS = ("clean", "degraded", "mask")


class Pool:
    """Degraded crops in memory-mapped files, arranged as in `dataset.SampleSet`."""

    def __init__(self, folder: Path) -> None:
        try:
            self._clean, self._degraded, self._mask = (np.load(folder / f"{f}.npy", mmap_mode="r") for f in _FIELDS)
        except FileNotFoundError as error:
            hint = f"build the pool with: python -m codesign.models.restore.pool --out {folder}"
            raise InputError(f"{error.filename}: no such file; {hint}") from None

    def __len__(self) -> int:
        return len(self._clean)

    def batch(self, rng: np.random.Generator, images: int) -> Batch:
        """`images` random crops, each with a random task, symmetry and order of colours."""
        rows, tasks = rng.integers(len(self), size=images), rng.choice(len(TASKS), size=images, p=TASK_SHARES)
        drawn = [self._draw(row, task, rng) for row, task in zip(rows, tasks, strict=True)]
        clean, degraded, mask = (np.stack(arrays) for arrays in zip(*drawn, strict=True))
        return Batch(signed(clean), signed(degraded), torch.from_numpy(mask).float()[:, None], torch.from_numpy(tasks))

    def _draw(self, row: int, task: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        turns, mirrored, colours = int(rng.integers(4)), bool(rng.integers(2)), rng.permutation(3)

        def seen(image: np.ndarray) -> np.ndarray:
            return np.rot90(image[:, ::-1] if mirrored else image, turns)

        clean, degraded = (seen(image)[..., colours] for image in (self._clean[row], self._degraded[row, task]))
        return clean, degraded, seen(self._mask[row, task])


def build(folder: Path, crops: int, seed: int) -> None:
    """Write a pool of about `crops` crops of the training photographs and of synthetic images."""
    rng = np.random.default_rng(seed)
    photographs = (*TRAINING, *TRAINING_WALLPAPERS)
    each = round(crops * (1 - SYNTHETIC_SHARE) / len(photographs))
    clean = [to_bytes(augmented(crop, rng)) for p in photographs for crop in crops_of(p, each, rng)]
    clean += [to_bytes(dead_leaves(rng)) for _ in range(crops - len(clean))]
    images = np.stack(clean)
    images = images[rng.permutation(len(images))]
    degraded = np.zeros((len(images), len(TASKS), SIZE, SIZE, 3), np.uint8)
    masks = np.zeros((len(images), len(TASKS), SIZE, SIZE), bool)
    holes: dict[str, Tensor] = {}
    for row, image in enumerate(signed(images)):
        if row % _CROPS_PER_HOLE == 0:
            holes = {task: hole(task, rng) for task in ("inpaint", "outpaint")}
        for index, task in enumerate(TASKS):
            seen, mask = degrade(image, task, rng, holes.get(task))
            degraded[row, index], masks[row, index] = to_bytes(seen), mask[0].numpy() > 0
    folder.mkdir(parents=True, exist_ok=True)
    for field, array in zip(_FIELDS, (images, degraded, masks), strict=True):
        np.save(folder / f"{field}.npy", array, allow_pickle=False)


def crops_of(photograph: Photograph, count: int, rng: np.random.Generator) -> list[Tensor]:
    """`count` textured crops of a photograph at random sizes."""
    image = torch.from_numpy(read(photograph)).permute(2, 0, 1).float()[None] / 127.5 - 1
    shorter = min(image.shape[2:])
    image = _resized(image, min(1.0, _LARGEST / shorter))
    crops: list[Tensor] = []
    largest = min(image.shape[2:])
    for version in range(_VERSIONS):
        side = np.exp(rng.uniform(np.log(_SMALLEST), np.log(max(largest, _SMALLEST))))
        resized = _resized(image, min(1.0, side / largest))[0]
        wanted = count * (version + 1) // _VERSIONS - len(crops)
        crops += textured_crops(resized, rng, wanted)
    return crops


def _resized(image: Tensor, scale: float) -> Tensor:
    size = [int(n * scale) for n in image.shape[2:]]
    return F.interpolate(image, size=size, mode="bicubic", antialias=True, align_corners=False).clamp(-1, 1)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the pool, 0.8 GB")
    parser.add_argument("--crops", type=int, default=12000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    build(given.out, given.crops, given.seed)


if __name__ == "__main__":
    main()
