"""The committed samples: held-out crops for evaluation, training crops for calibration.

``python -m codesign.models.restore.dataset`` rebuilds data/samples.npz from the photographs. Degraded versions are
stored as 8-bit images, so that scores do not depend on the versions of the image libraries and random generators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from codesign.errors import InputError
from codesign.models.restore.degrade import degrade
from codesign.models.restore.network import TASKS
from codesign.models.restore.photographs import HELD_OUT, SIZE, TRAINING, Photograph, pyramid, read

DATA = Path(__file__).parent / "data"
FILE = DATA / "samples.npz"
HELD_OUT_COUNT, CALIBRATION_COUNT = 16, 8
CALIBRATION_FROM = ("astronaut", "flower", "camera", "retina", "grass", "ihc", "coins", "brick")
SEED = 7
_LEVELS = (2, 1, 3, 0)  # levels of the pyramid used in turn: the photograph at 1/2, 1/1.5, 1/3 and 1/1
_STRIDE = 16  # distance between candidate crops


@dataclass(frozen=True)
class SampleSet:
    """Crops and their degraded versions; the axis of length 4 follows `network.TASKS`."""

    clean: np.ndarray  # uint8 [n,H,W,3]
    degraded: np.ndarray  # uint8 [n,4,H,W,3]
    mask: np.ndarray  # bool [n,4,H,W], True where a pixel is missing

    def __len__(self) -> int:
        return len(self.clean)


@dataclass(frozen=True)
class Batch:
    """Inputs of the network, one row per image; the four tasks of a crop are consecutive."""

    clean: Tensor  # [n*4,3,H,W] in -1..1
    degraded: Tensor  # [n*4,3,H,W] in -1..1
    mask: Tensor  # [n*4,1,H,W], 1 where a pixel is missing
    task: Tensor  # [n*4], indices into `network.TASKS`

    @classmethod
    def of(cls, samples: SampleSet) -> Batch:
        mask = torch.from_numpy(samples.mask.reshape(-1, 1, *samples.mask.shape[2:])).float()
        task = torch.arange(len(TASKS)).repeat(len(samples))
        degraded = samples.degraded.reshape(-1, *samples.degraded.shape[2:])
        return cls(signed(np.repeat(samples.clean, len(TASKS), axis=0)), signed(degraded), mask, task)

    def __len__(self) -> int:
        return len(self.task)

    def __getitem__(self, rows: slice | Tensor) -> Batch:
        return Batch(self.clean[rows], self.degraded[rows], self.mask[rows], self.task[rows])


def load_samples() -> dict[str, SampleSet]:
    """The committed sets ``held_out`` and ``calibration``; raises InputError when the file is missing."""
    if not FILE.exists():
        raise InputError(f"{FILE}: no such file; write it with: python -m codesign.models.restore.dataset")
    with np.load(FILE, allow_pickle=False) as arrays:
        return {
            kind: SampleSet(*(arrays[f"{kind}_{field}"] for field in ("clean", "degraded", "mask")))
            for kind in ("held_out", "calibration")
        }


def make_samples(photographs: Sequence[Photograph], count: int, seed: int) -> SampleSet:
    """`count` crops from the photographs in turn, each with all four degradations."""
    rng = np.random.default_rng(seed)
    pyramids = [pyramid(read(p)) for p in photographs]
    rows = []
    for index in range(count):
        levels = pyramids[index % len(pyramids)]
        image = levels[min(_LEVELS[index // 4 % len(_LEVELS)], len(levels) - 1)]
        rows.append(_row(textured_crops(image, rng, 1)[0], rng))
    return SampleSet(*(np.stack(arrays) for arrays in zip(*rows, strict=True)))


def samples_of(crops: Sequence[Tensor], seed: int) -> SampleSet:
    """The crops [3,SIZE,SIZE], each with all four degradations."""
    rng = np.random.default_rng(seed)
    rows = [_row(crop, rng) for crop in crops]
    return SampleSet(*(np.stack(arrays) for arrays in zip(*rows, strict=True)))


def _row(crop: Tensor, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(clean, degraded, mask) of a crop, as `SampleSet` holds them."""
    stored = to_bytes(crop)
    pairs = [degrade(signed(stored[None])[0], task, rng) for task in TASKS]
    degraded = np.stack([to_bytes(image) for image, _ in pairs])
    return stored, degraded, np.stack([mask[0].numpy() > 0.5 for _, mask in pairs])


def textured_crops(image: Tensor, rng: np.random.Generator, count: int) -> list[Tensor]:
    """Random crops with gradient energy above the image's median, since restoration is not visible on plain areas."""
    grid = [
        image[:, top : top + SIZE, left : left + SIZE]
        for top in range(0, image.shape[1] - SIZE + 1, _STRIDE)
        for left in range(0, image.shape[2] - SIZE + 1, _STRIDE)
    ]
    energy = np.array([_gradient_energy(crop) for crop in grid])
    textured = np.flatnonzero(energy >= np.median(energy))
    return [grid[int(rng.choice(textured))] for _ in range(count)]


def _gradient_energy(crop: Tensor) -> float:
    grey = crop.mean(dim=0)
    return float(grey.diff(dim=0).square().mean() + grey.diff(dim=1).square().mean())


def to_bytes(image: Tensor) -> np.ndarray:
    """uint8 [H,W,3] of an image [3,H,W] in -1..1."""
    array: np.ndarray = ((image.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return array


def signed(images: np.ndarray) -> Tensor:
    """float [n,3,H,W] in -1..1 of uint8 [n,H,W,3]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().contiguous() / 127.5 - 1


def main() -> None:
    """Write data/samples.npz."""
    calibration_from = [p for p in TRAINING if p.stem in CALIBRATION_FROM]
    sets = {
        "held_out": make_samples(HELD_OUT, HELD_OUT_COUNT, SEED),
        "calibration": make_samples(calibration_from, CALIBRATION_COUNT, SEED + 1),
    }
    DATA.mkdir(parents=True, exist_ok=True)
    arrays = {f"{kind}_{k}": v for kind, samples in sets.items() for k, v in vars(samples).items()}
    np.savez_compressed(FILE, allow_pickle=False, **arrays)


if __name__ == "__main__":
    main()
