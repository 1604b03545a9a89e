"""Training of the restore network, on the committed calibration crops instead of a pool of photographs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from codesign.errors import InputError
from codesign.models.restore import train
from codesign.models.restore.card import WEIGHTS
from codesign.models.restore.dataset import Batch, load_samples
from codesign.models.restore.network import RestoreUNet
from codesign.models.restore.train import Progress, Trainer, log_errors


class Supply:
    """Random calibration crops; stands for `train.Pool`."""

    def __init__(self, _folder: Path | None = None) -> None:
        self._all = Batch.of(load_samples()["calibration"])

    def batch(self, rng: np.random.Generator, images: int) -> Batch:
        return self._all[torch.from_numpy(rng.integers(len(self._all), size=images))]


@pytest.fixture
def supply(monkeypatch: pytest.MonkeyPatch) -> Supply:
    """For updates with few images, of which two return."""
    monkeypatch.setattr(train, "IMAGES", 4)
    monkeypatch.setattr(train, "RETURNING", 2)
    return Supply()


def trainer(seed: int = 0) -> Trainer:
    torch.manual_seed(seed)
    return Trainer(RestoreUNet(), Progress(seed))


@pytest.mark.slow
def test_the_error_of_a_batch_falls(supply: Supply, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "RETURNING", 0)
    learner, batch = trainer(), supply.batch(np.random.default_rng(0), 4)
    supply.batch = lambda _rng, images: batch[:images]  # type: ignore[method-assign]  # the same crops in each update
    learner.progress.step = 1000  # past the warm-up
    losses = [learner.step(supply, 0.0) for _ in range(14)]
    assert sum(losses[-3:]) < sum(losses[:3]) - 0.3


def test_predictions_return_mixed_with_the_degraded_image_at_earlier_times(supply: Supply) -> None:
    learner = trainer()
    fresh, _, times = learner._inputs(supply)
    assert times.tolist() == [1.0] * 4
    predicted = fresh.degraded[:2] + 0.5
    learner._returning = fresh[:2], predicted
    batch, noisy, times = learner._inputs(supply)
    assert times[:2].tolist() == [1.0, 1.0]
    assert bool(((times[2:] > 0) & (times[2:] < 1)).all())
    assert torch.equal(batch.clean[2:], fresh.clean[:2])
    change = (noisy - batch.degraded).flatten(1).mean(dim=1)
    expected = 0.5 * (1 - train.diffuse(torch.zeros(2, 1, 1, 1), torch.ones(2, 1, 1, 1), times[2:], torch.zeros(1)))
    torch.testing.assert_close(change[2:], expected.flatten(), atol=2e-3, rtol=0)


def test_a_restored_trainer_goes_on_as_if_it_had_never_stopped(supply: Supply, tmp_path: Path) -> None:
    first = trainer(3)
    first.step(supply, 0.0)
    first.save(tmp_path / "state.safetensors")
    expected = [first.step(supply, 0.1), float(first.rng.random())]
    again = trainer(3)
    again.restore(tmp_path / "state.safetensors")
    assert again.progress.step == 1
    assert [again.step(supply, 0.1), float(again.rng.random())] == expected
    assert all(
        torch.equal(a, b)
        for a, b in zip(again.average.state_dict().values(), first.average.state_dict().values(), strict=True)
    )


def test_the_rate_warms_up_and_decays() -> None:
    """150 steps of warm-up, then a cosine down to 1 %."""
    assert train.rate_share(0, 0.0) == pytest.approx(1 / 150)
    assert train.rate_share(149, 0.0) == pytest.approx(1.0)
    assert train.rate_share(10_000, 0.5) == pytest.approx(0.505)
    assert train.rate_share(10_000, 1.0) == pytest.approx(0.01)


def test_errors_count_over_the_hole_where_there_is_one(supply: Supply) -> None:
    batch = supply._all[:4]
    off_in_holes = torch.where(batch.task[:, None, None, None] < 2, 0.2, 0.2 * batch.mask)
    found = log_errors(batch.clean + off_in_holes, batch)  # 0.2 in -1..1 is 0.1 in 0..1
    torch.testing.assert_close(found, torch.full((4,), math.log(0.01 + 1e-6)), atol=1e-4, rtol=0)


def test_a_missing_pool_names_the_command_that_builds_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"clean\.npy: no such file; build the pool with"):
        train.main(["--pool", str(tmp_path / "none"), "--out", str(tmp_path), "--minutes", "0.01"])


@pytest.mark.slow
def test_a_run_from_weights_goes_on_from_them_and_leaves_a_state_and_a_log(
    supply: Supply, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(train, "Pool", Supply)
    monkeypatch.setattr(train, "look", lambda _network: {"deblur": 0.0})
    run = ["--pool", "none", "--out", str(tmp_path), "--from-weights", str(WEIGHTS)]
    train.main([*run, "--minutes", "0.01"])
    train.main([*run, "--minutes", "0.02", "--resume"])
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] > log[0]["step"] > 0
    assert log[-1]["minutes"] > log[0]["minutes"]  # the time before counts as well
    start, end = (train.load_network(path).state_dict() for path in (WEIGHTS, tmp_path / "restore.safetensors"))
    moved = [float((end[name] - start[name]).abs().max()) for name in start]
    assert 0 < max(moved) < 0.1  # begun where the weights were, not anew
    assert (tmp_path / "state.safetensors").exists()
