"""Photographs, degradations and the committed samples of the restore task."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from codesign.errors import EnvironmentProblem, InputError
from codesign.models.restore import dataset
from codesign.models.restore.dataset import (
    CALIBRATION_COUNT,
    CALIBRATION_FROM,
    HELD_OUT_COUNT,
    SEED,
    Batch,
    load_samples,
    make_samples,
    signed,
)
from codesign.models.restore.degrade import degrade
from codesign.models.restore.fill import fill
from codesign.models.restore.network import TASKS
from codesign.models.restore.photographs import (
    FIRST_RUN_ONLY,
    HELD_OUT,
    HELD_OUT_WALLPAPERS,
    NOT_STATED,
    SIZE,
    TRAINING,
    TRAINING_WALLPAPERS,
    augmented,
    dead_leaves,
    pyramid,
    read,
)


def smooth_image() -> Tensor:
    """A slope and a wave, [3, SIZE, SIZE]."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, SIZE), torch.linspace(-1, 1, SIZE), indexing="ij")
    return torch.stack([0.5 * x, 0.5 * y, 0.3 * torch.sin(3 * x + 2 * y)])


def test_no_held_out_photograph_is_trained_on() -> None:
    held_out = {p.name for p in (*HELD_OUT, *HELD_OUT_WALLPAPERS)}
    assert not held_out & {p.name for p in (*TRAINING, *TRAINING_WALLPAPERS, *FIRST_RUN_ONLY)}
    assert len(held_out) == 8


def test_the_licence_of_every_photograph_that_is_trained_on_is_stated() -> None:
    assert all(p.licence != NOT_STATED for p in (*TRAINING, *TRAINING_WALLPAPERS))


def test_committed_crops_come_from_photographs_with_a_stated_licence_without_share_alike() -> None:
    chosen = [p for p in TRAINING if p.stem in CALIBRATION_FROM]
    assert len(chosen) == len(CALIBRATION_FROM) == CALIBRATION_COUNT
    assert all(p.licence != NOT_STATED and not p.licence.startswith(("GPL", "CC BY-SA")) for p in (*chosen, *HELD_OUT))


@pytest.mark.parametrize(("kind", "count"), [("held_out", HELD_OUT_COUNT), ("calibration", CALIBRATION_COUNT)])
def test_the_committed_samples_hold_every_crop_in_all_four_tasks(kind: str, count: int) -> None:
    samples = load_samples()[kind]
    assert samples.clean.shape == (count, SIZE, SIZE, 3)
    assert samples.degraded.shape == (count, len(TASKS), SIZE, SIZE, 3)
    assert samples.mask.shape == (count, len(TASKS), SIZE, SIZE)
    assert (samples.clean.dtype, samples.degraded.dtype, samples.mask.dtype) == (np.uint8, np.uint8, np.bool_)


def test_committed_holes_are_in_inpainting_and_outpainting_alone_and_their_known_pixels_are_true() -> None:
    samples = load_samples()["held_out"]
    assert not samples.mask[:, :2].any()
    assert samples.mask[:, 2:].any(axis=(2, 3)).all()
    known = ~samples.mask[:, 2:]
    truth = np.repeat(samples.clean[:, None], 2, axis=1)
    assert (samples.degraded[:, 2:][known] == truth[known]).all()


def test_no_two_held_out_crops_are_the_same() -> None:
    clean = load_samples()["held_out"].clean
    assert len({c.tobytes() for c in clean}) == len(clean)


def test_a_missing_sample_file_names_the_command_that_writes_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setattr(dataset, "FILE", dataset.Path(str(tmp_path)) / "none.npz")
    with pytest.raises(InputError, match=r"codesign\.models\.restore\.dataset"):
        load_samples()


def test_a_batch_puts_the_tasks_of_a_crop_next_to_each_other() -> None:
    samples = load_samples()["held_out"]
    batch = Batch.of(samples)
    assert len(batch) == HELD_OUT_COUNT * len(TASKS)
    assert batch.task[:5].tolist() == [0, 1, 2, 3, 0]
    assert torch.equal(batch.clean[4], batch.clean[7])
    torch.testing.assert_close(batch.degraded[6], signed(samples.degraded[1, 2][None])[0])


@pytest.mark.parametrize("task", TASKS)
def test_the_same_seed_degrades_alike(task: str) -> None:
    first, second = (degrade(smooth_image(), task, np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


@pytest.mark.parametrize("task", TASKS)
def test_degraded_images_stay_in_range_and_differ_from_the_clean_one(task: str) -> None:
    clean = dead_leaves(np.random.default_rng(5))
    degraded, mask = degrade(clean, task, np.random.default_rng(3))
    assert float(degraded.abs().max()) <= 1
    assert not torch.equal(degraded, clean)
    assert bool(mask.any()) == (task in ("inpaint", "outpaint"))


def test_super_resolution_starts_from_a_sixteenth_of_the_pixels() -> None:
    """What bicubic interpolation made of 16 x 16 pixels has at most 256 degrees of freedom per channel."""
    rng = np.random.default_rng(0)
    columns = torch.cat([degrade(dead_leaves(rng), "super_resolution", rng)[0].flatten(0, 1) for _ in range(4)])
    inside = columns[columns.abs().amax(dim=1) < 0.999]  # rows that were not clipped
    assert torch.linalg.matrix_rank(inside.double(), rtol=1e-5) <= SIZE // 4


def test_outpainting_misses_one_whole_side() -> None:
    _, mask = degrade(smooth_image(), "outpaint", np.random.default_rng(1))
    rows, columns = mask[0].amax(dim=1), mask[0].amax(dim=0)
    assert SIZE in (int(rows.sum()), int(columns.sum()))
    assert 12 <= min(int(rows.sum()), int(columns.sum())) <= 20


def test_the_prefill_keeps_known_pixels_and_continues_smooth_ones() -> None:
    image, mask = smooth_image(), torch.zeros(1, SIZE, SIZE)
    mask[:, 20:36, 24:40] = 1
    filled = fill(image * (1 - mask), mask)
    assert torch.equal(filled[:, mask[0] == 0], image[:, mask[0] == 0])
    assert float((filled - image).abs().max()) < 0.08


def test_augmented_crops_stay_in_range() -> None:
    rng = np.random.default_rng(0)
    for _ in range(8):
        crop = augmented(smooth_image(), rng)
        assert crop.shape == (3, SIZE, SIZE)
        assert float(crop.abs().max()) <= 1


def test_photographs_without_their_packages_are_a_one_line_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(EnvironmentProblem, match=r"pip install 'codesign\[train\]'"):
        read(HELD_OUT[0])


def test_every_photograph_can_be_read_and_cropped_at_some_scale() -> None:
    pytest.importorskip("skimage", reason="codesign[train] is not installed")
    pytest.importorskip("sklearn", reason="codesign[train] is not installed")
    for photograph in (HELD_OUT[0], TRAINING[4], TRAINING[-1]):
        image = read(photograph)
        assert image.dtype == np.uint8
        assert image.shape[2] == 3
        assert min(min(level.shape[1:]) for level in pyramid(image)) >= SIZE


@pytest.mark.slow
def test_the_script_writes_the_committed_samples_again() -> None:
    pytest.importorskip("skimage", reason="codesign[train] is not installed")
    pytest.importorskip("sklearn", reason="codesign[train] is not installed")
    stored, made = load_samples()["held_out"], make_samples(HELD_OUT, HELD_OUT_COUNT, SEED)
    # decoders of JPEG files and resizing may differ by one level between versions
    assert np.abs(stored.clean.astype(int) - made.clean).max() <= 1
    assert np.abs(stored.degraded.astype(int) - made.degraded).max() <= 2
    assert np.array_equal(stored.mask, made.mask)
