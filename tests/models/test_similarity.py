"""Structural similarity is that of torchmetrics, which takes seconds to load."""

from __future__ import annotations

import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from codesign.models.similarity import structural_similarity


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 16, 20), (4, 33, 33)])
@pytest.mark.parametrize(("reach", "sigma"), [(1.0, 1.5), (2.5, 1.0)])
def test_similarity_equals_torchmetrics(shape: tuple[int, ...], reach: float, sigma: float) -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(5, *shape, generator=generator)
    images = truth + 0.1 * torch.randn(5, *shape, generator=generator)
    expected = structural_similarity_index_measure(images, truth, data_range=reach, sigma=sigma, reduction="none")
    assert structural_similarity(images, truth, reach, sigma) == pytest.approx(expected, abs=1e-6)


def test_an_image_is_wholly_similar_to_itself() -> None:
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    assert structural_similarity(image, image).item() == pytest.approx(1.0)
