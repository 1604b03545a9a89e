"""The super-resolution task: photographs made small, in pairs with what they were made from."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from examples.public.span import BORDER, CALIBRATION, CROPS, EVALUATION, FACTOR, SIZE, bicubic, crops, psnr, whole

pytest.importorskip("skimage", reason="the photographs come with scikit-image and scikit-learn")
pytest.importorskip("sklearn", reason="the photographs come with scikit-image and scikit-learn")


def test_calibration_and_evaluation_are_of_different_photographs() -> None:
    assert len(CALIBRATION) == 5
    assert not {p.name for p in CALIBRATION} & {p.name for p in EVALUATION}


def test_crops_are_the_same_each_time_and_lie_over_their_originals() -> None:
    pairs, again = crops(EVALUATION[:2], seed=1), crops(EVALUATION[:2], seed=1)
    assert torch.equal(pairs.small, again.small)
    assert pairs.small.shape == (2 * CROPS, 3, SIZE, SIZE)
    assert pairs.original.shape == (2 * CROPS, 3, FACTOR * SIZE, FACTOR * SIZE)
    shrunk = F.avg_pool2d(pairs.original, FACTOR)
    assert float((shrunk - pairs.small).abs().mean()) < 0.02
    moved = F.avg_pool2d(pairs.original.roll(2 * FACTOR, dims=3), FACTOR)
    assert float((moved - pairs.small).abs().mean()) > 0.04


def test_a_small_photograph_has_eight_bits_and_a_quarter_of_the_sides() -> None:
    pair = whole(EVALUATION[0])
    assert [FACTOR * side for side in pair.small.shape[2:]] == list(pair.original.shape[2:])
    assert torch.allclose(pair.small * 255, (pair.small * 255).round(), atol=1e-3)
    assert 29 < float(psnr(bicubic(pair.small), pair.original)) < 31


def test_psnr_leaves_the_border_out_and_clamps() -> None:
    image = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1
    other = image + 0.1
    other[..., :BORDER, :] = 9
    assert torch.allclose(psnr(other, image), torch.tensor([20.0, 20.0]), atol=1e-3)
    assert torch.isinf(psnr(torch.full_like(image, 7.0), torch.ones_like(image))).all()
