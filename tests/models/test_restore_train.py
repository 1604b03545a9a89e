"""Training of the restore network, on the committed calibration crops instead of photographs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from codesign.errors import InputError
from codesign.models.restore import train
from codesign.models.restore.dataset import Batch, load_samples
from codesign.models.restore.network import RestoreUNet
from codesign.models.restore.train import Trainer


@pytest.fixture
def batch(monkeypatch: pytest.MonkeyPatch) -> Batch:
    """A crop in all four tasks, for steps of as few images."""
    monkeypatch.setattr(train, "IMAGES", 4)
    return Batch.of(load_samples()["calibration"])[:4]


class Supply:
    """Stands for `train.Photographs`."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def batch(self, rng: object, shares: object = None) -> Batch:
        return self._batch


@pytest.mark.slow
def test_a_teacher_learns_a_batch(batch: Batch) -> None:
    trainer = Trainer("teacher", 0, None)
    trainer.progress.step = 1000  # past the warm-up
    losses = [trainer.step(batch, 0.0) for _ in range(12)]
    assert sum(losses[-3:]) < sum(losses[:3]) - 0.3


def test_a_student_starts_from_its_teacher_and_leaves_it_as_it_is(batch: Batch) -> None:
    teacher = RestoreUNet().eval()
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    trainer = Trainer("student", 0, teacher)
    assert all(torch.equal(v, before[k]) for k, v in trainer.network.state_dict().items())
    trainer.step(batch, 0.0)
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())
    assert not torch.equal(trainer.network.state_dict()["conv_out.bias"], before["conv_out.bias"])


def test_a_restored_trainer_goes_on_as_if_it_had_never_stopped(batch: Batch, tmp_path: Path) -> None:
    trainer = Trainer("teacher", 3, None)
    trainer.step(batch, 0.0)
    trainer.save(tmp_path / "state.safetensors")
    expected = [trainer.step(batch, 0.1), float(trainer.rng.random())]
    again = Trainer("teacher", 3, None)
    again.restore(tmp_path / "state.safetensors")
    assert again.progress.step == 1
    assert [again.step(batch, 0.1), float(again.rng.random())] == expected
    assert all(
        torch.equal(a, b)
        for a, b in zip(again.average.state_dict().values(), trainer.average.state_dict().values(), strict=True)
    )


def test_the_rate_warms_up_and_decays() -> None:
    """150 steps of warm-up, then a cosine down to 2 %."""
    assert train.rate_share(0, 0.0) == pytest.approx(1 / 150)
    assert train.rate_share(149, 0.0) == pytest.approx(1.0)
    assert train.rate_share(10_000, 0.5) == pytest.approx(0.51)
    assert train.rate_share(10_000, 1.0) == pytest.approx(0.02)


def test_the_phases_share_the_whole_time_and_each_follows_one_before_it() -> None:
    assert sum(p.share for p in train.PHASES.values()) == pytest.approx(1.0)
    assert [p.after for p in train.PHASES.values()] == [None, *list(train.PHASES)[:-1]]


def test_errors_count_over_the_hole_where_there_is_one(batch: Batch) -> None:
    errors = batch.mask.expand_as(batch.clean).clone()  # one in each hole, nothing elsewhere
    errors[batch.task < 2] = 1.0
    assert float(train.log_mean(errors, batch)) == pytest.approx(math.log(1.03), abs=1e-5)  # 0.03 is added to each mean


def test_a_student_without_a_teacher_is_a_one_line_error(
    batch: Batch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(train, "Photographs", lambda: Supply(batch))
    with pytest.raises(InputError, match="--phase teacher"):
        train.main(["--out", str(tmp_path), "--phase", "student", "--minutes", "0.01"])


@pytest.mark.slow
def test_a_run_leaves_weights_states_and_a_log(batch: Batch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(train, "Photographs", lambda: Supply(batch))
    train.main(["--out", str(tmp_path), "--minutes", "0.05"])
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert {row["phase"] for row in log} == set(train.PHASES)
    for phase in train.PHASES:
        assert (tmp_path / f"{phase}.safetensors").exists()
        assert (tmp_path / f"{phase}.state.safetensors").exists()
