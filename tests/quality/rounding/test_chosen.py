"""Chosen weights: found once from the float network, kept on disk, used by evaluations and sensitivities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from codesign.formats import Assignment, FormatPair, get_format
from codesign.models.custom import CustomTask
from codesign.quality import Evaluator
from codesign.quality.rounding import ChosenWeights
from codesign.quality.rounding.chosen import Wanted
from codesign.quality.rounding.moments import Moments
from codesign.quality.sensitivity import sensitivities

WANTED = [Wanted(layer, "int4_g32", "gptq") for layer in ("0", "3")]


@pytest.fixture(scope="module")
def task() -> CustomTask:
    """A small convolutional network on correlated inputs."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Flatten(2), nn.Linear(64, 16))
    x = torch.randn(16, 3, 8, 8).cumsum(2).cumsum(3)
    return CustomTask("small", module, x[:8], x[8:], None)


def value(evaluator: Evaluator, pair: str) -> float:
    return evaluator(
        Assignment.of_pairs(dict.fromkeys(evaluator.layers, FormatPair.parse(pair)), evaluator.layers)
    ).value


def test_methods_lose_less_than_the_nearest_on_data_they_have_not_seen(task: CustomTask) -> None:
    evaluator = Evaluator(task)
    losses = {method: value(evaluator, f"int3:fp32 + {method}") for method in ("nearest", "clip", "gptq", "descent")}
    assert losses["gptq"] < losses["nearest"]
    assert losses["clip"] < losses["nearest"]
    assert losses["descent"] < losses["nearest"]


def test_sensitivities_see_the_methods(task: CustomTask) -> None:
    pairs = [FormatPair.parse(f"int3:fp32 + {method}") for method in ("nearest", "gptq")]
    table = sensitivities(Evaluator(task), pairs)
    assert (table[:, 1] < table[:, 0]).all()
    assert np.isfinite(table).all()


def test_a_weight_is_kept_on_disk_and_read_again(task: CustomTask, tmp_path: Path) -> None:
    first = ChosenWeights(task, tmp_path, {"fingerprint": "a"})
    first.find(WANTED)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    written = [{name: tensor.clone() for name, tensor in load_file(file).items()} for file in files]
    files[0].write_bytes(b"broken")
    again = ChosenWeights(task, tmp_path, {"fingerprint": "a"})
    again.find(WANTED)
    for file, before in zip(files, written, strict=True):
        assert all(torch.equal(tensor, before[name]) for name, tensor in load_file(file).items())
    ChosenWeights(task, tmp_path, {"fingerprint": "b"}).find(WANTED)
    assert len(list(tmp_path.iterdir())) == 4


def test_a_study_with_known_weights_runs_no_calibration(
    task: CustomTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ChosenWeights(task, tmp_path).find(WANTED)
    monkeypatch.setattr(type(task), "calibrate", lambda *_: pytest.fail("calibrated again"))
    ChosenWeights(task, tmp_path).find(WANTED)


def test_moments_larger_than_the_memory_are_found_in_several_runs(task: CustomTask) -> None:
    whole = Moments(task).of(["0", "3"])
    assert set(whole) == {"0", "3"}
    first = Moments(task, most=1).of(["0", "3"])
    assert set(first) == {"0"}
    assert torch.equal(first["0"], whole["0"])
    assert torch.equal(Moments(task, most=1).of(["3"])["3"], whole["3"])


class Computed(nn.Module):
    """A layer whose weight is computed, and one that is an einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 32))
        self.other = nn.Parameter(torch.randn(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.linear(x, 2 * self.weight)
        return torch.einsum("bi,oi->bo", y, self.other)


def test_a_weight_that_no_method_can_round_is_rounded_to_the_nearest() -> None:
    torch.manual_seed(0)
    x = torch.randn(16, 32)
    evaluator = Evaluator(CustomTask("computed", Computed(), x[:8], x[8:], None))
    assert value(evaluator, "int4:fp32 + gptq") == value(evaluator, "int4:fp32")


def test_casts_have_no_method(task: CustomTask) -> None:
    evaluator = Evaluator(task)
    assert value(evaluator, "bf16:fp32 + gptq") == value(evaluator, "bf16:fp32")
    assert get_format("bf16").is_cast
