"""The pool of degraded crops and the packages that its photographs come from."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from codesign.errors import EnvironmentProblem
from codesign.models.restore import pool, wallpapers
from codesign.models.restore.dataset import load_samples, to_bytes
from codesign.models.restore.photographs import SIZE
from codesign.models.restore.pool import Pool
from codesign.models.restore.wallpapers import Package, check, unpacked


@pytest.fixture
def stored(tmp_path: Path) -> Pool:
    """The committed calibration crops as a pool."""
    for field, array in vars(load_samples()["calibration"]).items():
        np.save(tmp_path / f"{field}.npy", array)
    return Pool(tmp_path)


def test_a_batch_holds_whole_pairs_under_one_symmetry_and_one_order_of_colours(stored: Pool) -> None:
    """Known pixels of inpainting and outpainting still are those of the clean image, and colours only swap places."""
    batch = stored.batch(np.random.default_rng(0), 32)
    assert set(batch.task.tolist()) == {0, 1, 2, 3}
    known = (batch.mask == 0) & (batch.task >= 2)[:, None, None, None]
    known = known.expand_as(batch.clean)
    assert np.array_equal(batch.clean[known], batch.degraded[known])
    means = {tuple(sorted(c.reshape(-1, 3).mean(axis=0).round(3))) for c in load_samples()["calibration"].clean}
    assert all(
        tuple(sorted(to_bytes(crop).reshape(-1, 3).mean(axis=0).round(3))) in means for crop in batch.clean.unbind()
    )


def test_the_same_seed_draws_the_same_batch(stored: Pool) -> None:
    first, second = (stored.batch(np.random.default_rng(4), 5) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(vars(first).values(), vars(second).values(), strict=True))


@pytest.mark.slow
def test_a_pool_is_built_from_photographs_and_synthetic_images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("skimage", reason="codesign[train] is not installed")
    pytest.importorskip("sklearn", reason="codesign[train] is not installed")
    monkeypatch.setattr(pool, "TRAINING_WALLPAPERS", ())
    monkeypatch.setattr(pool, "TRAINING", pool.TRAINING[:2])
    pool.main(["--out", str(tmp_path), "--crops", "20"])
    built = Pool(tmp_path)
    assert len(built) == 20
    assert built.batch(np.random.default_rng(0), 3).clean.shape == (3, 3, SIZE, SIZE)


def test_a_package_that_is_not_the_one_trained_on_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.deb"
    archive.write_bytes(b"other")
    check(archive, Package("1", hashlib.sha256(b"other").hexdigest()))
    with pytest.raises(EnvironmentProblem, match=r"SHA-256 is .*, expected 00; delete the file"):
        check(archive, Package("1", "00"))


def test_a_system_without_debians_tools_is_a_one_line_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentProblem, match="apt-get is missing: the wallpapers need a Debian or Ubuntu system"):
        unpacked("mate-backgrounds", tmp_path)


def test_an_unpacked_package_is_not_fetched_again(tmp_path: Path) -> None:
    package = wallpapers.PACKAGES["mate-backgrounds"]
    (tmp_path / "mate-backgrounds" / package.pictures).mkdir(parents=True)
    assert unpacked("mate-backgrounds", tmp_path).is_dir()
