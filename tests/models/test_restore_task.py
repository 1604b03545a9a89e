"""The restore task: its metrics, its probe, its noise and its workload."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from codesign.errors import InputError
from codesign.models.restore import RestoreTask, load
from codesign.models.restore.network import TASKS, RestoreUNet
from codesign.models.restore.task import DECIDING_CROPS, chain_noise, load_network
from codesign.models.task import Outputs, Samples
from tests.models import perturbed


@pytest.fixture(scope="module")
def task(restore_task: RestoreTask) -> RestoreTask:
    return restore_task


@pytest.fixture(scope="module")
def part(task: RestoreTask) -> RestoreTask:
    """The same network on the first two crops."""
    smaller = task.part().task
    assert isinstance(smaller, RestoreTask)
    return smaller


@pytest.fixture(scope="module")
def reference(task: RestoreTask) -> Outputs:
    with torch.inference_mode():
        return task.run(task.module)


@pytest.fixture(scope="module")
def full(restored_in_full: Outputs) -> Outputs:
    return restored_in_full


@pytest.fixture(scope="module")
def report(task: RestoreTask, full: Outputs) -> list[Samples]:
    """The full report of the float network."""
    return task.score(full, full, full=True)


@pytest.fixture(scope="module")
def noisy(full: Outputs) -> Outputs:
    return {
        "images": full["images"] + 0.2 * torch.randn(full["images"].shape, generator=torch.Generator().manual_seed(0))
    }


@pytest.fixture(scope="module")
def noisy_report(task: RestoreTask, noisy: Outputs, full: Outputs) -> list[Samples]:
    return task.score(noisy, full, full=True)


def values(samples: list[Samples]) -> dict[str, float]:
    return {s.name: s.reduce(s.values) for s in samples}


def test_the_deciding_metric_comes_first_and_is_at_its_floor_for_float_itself(
    task: RestoreTask, reference: Outputs
) -> None:
    first = task.score(reference, reference)[0]
    assert first.name == task.deciding == "output_error"
    assert first.values.shape == (DECIDING_CROPS, len(TASKS))
    assert first.reduce(first.values) == -12.0


def test_the_deciding_metric_grows_with_the_perturbation(part: RestoreTask, reference: Outputs) -> None:
    errors = []
    for size in (0.003, 0.03):
        with torch.inference_mode():
            outputs = part.run(perturbed(part.module, size))
        first = {"images": reference["images"][: len(outputs["images"])]}
        errors.append(values(part.score(outputs, first))["output_error"])
    assert -12 < errors[0] < errors[1] - 1.0


def test_the_deciding_metric_is_the_mean_over_tasks_of_log10_of_the_squared_error(
    task: RestoreTask, reference: Outputs
) -> None:
    shift = torch.tensor([0.1, 0.01, 0.1, 0.001]).repeat(DECIDING_CROPS)[:, None, None, None]
    found = values(task.score({"images": reference["images"] + shift}, reference))
    assert found["output_error"] == pytest.approx(np.mean([-2, -4, -2, -6]), abs=1e-3)
    assert found["psnr_to_float"] == pytest.approx(35.0, abs=1e-2)


def test_a_second_run_gives_the_same_images(task: RestoreTask, reference: Outputs) -> None:
    with torch.inference_mode():
        again = task.run(task.module)
    assert torch.equal(again["images"], reference["images"])


def test_a_full_run_begins_with_the_images_of_a_quick_one(task: RestoreTask, reference: Outputs, full: Outputs) -> None:
    assert len(reference["images"]) == DECIDING_CROPS * len(TASKS)
    assert len(full["images"]) == 16 * len(TASKS)
    assert torch.equal(full["images"][: len(reference["images"])], reference["images"])


def test_the_deciding_metric_is_the_same_in_a_quick_and_a_full_run(
    task: RestoreTask, reference: Outputs, noisy: Outputs, noisy_report: list[Samples]
) -> None:
    quick = task.score({"images": noisy["images"][: len(reference["images"])]}, reference)[0]
    assert quick.name == noisy_report[0].name
    assert np.array_equal(quick.values, noisy_report[0].values)


def test_noise_depends_on_the_seed_and_not_on_the_number_of_images() -> None:
    assert torch.equal(chain_noise(4, 3, 0), chain_noise(9, 3, 0)[:, :4])
    assert not torch.equal(chain_noise(4, 3, 0), chain_noise(4, 3, 1))
    assert chain_noise(4, 3, 0).shape == (3, 4, 3, 64, 64)


def test_a_full_report_has_every_metric_finite_with_a_row_per_crop(report: list[Samples]) -> None:
    samples = {s.name: s for s in report}
    expected = {f"{m}_{t}" for m in ("psnr", "ssim") for t in TASKS}
    expected |= {"output_error", "psnr_to_float", "psnr_inpaint_hole", "psnr_outpaint_hole"}
    assert set(samples) == expected
    assert all(len(s.values) == 16 for n, s in samples.items() if n != "output_error")
    assert all(np.isfinite(s.reduce(s.values)) for s in samples.values())
    assert all(10 < samples[f"psnr_{t}"].values.mean() < 50 for t in TASKS)


def test_quality_against_the_truth_falls_under_a_strong_perturbation(
    report: list[Samples], noisy_report: list[Samples]
) -> None:
    better, worse = values(report), values(noisy_report)
    to_the_truth = [f"{metric}_{task}" for metric in ("psnr", "ssim") for task in TASKS]
    for name in ("psnr_to_float", "psnr_inpaint_hole", "psnr_outpaint_hole", *to_the_truth):
        assert worse[name] < better[name]


def test_the_probe_estimates_the_squared_error(task: RestoreTask) -> None:
    generator = torch.Generator().manual_seed(0)
    delta = 0.1 * torch.randn(24, 3, 8, 8, generator=generator)
    squares = []
    for _ in range(200):
        images = torch.zeros(24, 3, 8, 8, requires_grad=True)
        (gradient,) = torch.autograd.grad(task.probe({"images": images}, generator), images)
        squares.append(float((gradient * delta).sum()) ** 2)
    assert np.mean(squares) == pytest.approx(float(delta.square().mean()), rel=0.35)


def test_raw_and_from_raw_are_inverse_down_to_the_floor(task: RestoreTask) -> None:
    assert task.from_raw(task.raw(-4.5)) == pytest.approx(-4.5)
    assert task.raw(-3.0) == pytest.approx(1e-3)
    assert task.from_raw(0.0) == -12.0


def test_gradients_reach_every_layer(part: RestoreTask) -> None:
    network = copy.deepcopy(part.module)
    part.probe(part.run(network), torch.Generator().manual_seed(0)).backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert without == []


def test_nan_in_the_weights_is_named(part: RestoreTask) -> None:
    broken = copy.deepcopy(part.module)
    with torch.no_grad():
        broken.get_parameter("up1.resnet.conv1.weight")[0, 0, 0, 0] = float("nan")
    with torch.inference_mode(), pytest.raises(InputError, match=r"up1\.resnet\.conv1\.weight"):
        part.run(broken)


def test_a_missing_weights_file_names_the_command_that_trains_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file.*codesign\.models\.restore\.train"):
        load_network(tmp_path / "none.safetensors")


def test_nan_in_a_weights_file_is_named(tmp_path: Path) -> None:
    state = {k: v.clone() for k, v in RestoreUNet().state_dict().items()}
    state["conv_in.bias"][0] = float("inf")
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"conv_in\.bias"):
        load_network(tmp_path / "w.safetensors")


@pytest.mark.parametrize("content", [b"", b"not safetensors at all"])
def test_a_damaged_weights_file_is_a_one_line_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"w\.safetensors: not weights of the restore network \(.+\)$") as caught:
        load_network(tmp_path / "w.safetensors")
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="not weights of the restore network"):
        load_network(tmp_path / "w.safetensors")


def test_the_workload_is_four_denoising_passes_of_one_image(task: RestoreTask) -> None:
    workload = task.workload()
    assert workload.repeats == {"denoise": 4}
    assert workload.parameters == sum(p.numel() for p in task.module.parameters())
    assert 5e8 < workload.macs() < 2e9
    assert all(op.m <= 64 * 64 for op in workload.operators)


def test_calibration_reaches_every_layer(task: RestoreTask) -> None:
    """It is left as soon as it has: what comes after costs seconds and shows nothing."""

    class ReachedError(Exception):
        pass

    network = copy.deepcopy(task.module)
    waiting = {name: m for name, m in network.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    assert len(waiting) >= 40

    def reached(name: str) -> None:
        waiting.pop(name, None)
        if not waiting:
            raise ReachedError

    for name, module in list(waiting.items()):
        module.register_forward_hook(lambda *_, name=name: reached(name))
    with torch.inference_mode(), pytest.raises(ReachedError):
        task.calibrate(network)


def test_the_fingerprint_changes_with_weights_and_seed(task: RestoreTask) -> None:
    same, other_weights, other_seed = load(), load(), load()
    other_weights.module = perturbed(task.module, 0.001)
    other_seed.seed = 1
    assert same.fingerprint() == task.fingerprint()
    assert len({task.fingerprint(), other_weights.fingerprint(), other_seed.fingerprint()}) == 3


def test_examples_show_two_crops_of_each_task(task: RestoreTask, full: Outputs) -> None:
    shown = task.examples(full)
    assert list(shown) == ["output"]
    assert [e.label for e in shown["output"]][:3] == ["super_resolution 1", "super_resolution 2", "deblur 1"]
    assert len(shown["output"]) == 2 * len(TASKS)
    assert all(e.image.shape == (64, 64, 3) and e.image.dtype == np.uint8 for e in shown["output"])


def test_examples_with_reference_show_the_input_with_grey_holes_and_the_truth(task: RestoreTask, full: Outputs) -> None:
    shown = task.examples(full, reference=True)
    assert set(shown) == {"output", "input", "truth"}
    assert [e.label for e in shown["input"]] == [e.label for e in shown["truth"]]
    hole = (shown["input"][4].image == 128).all(axis=2)
    assert hole.sum() >= 64
    known = (shown["input"][4].image == shown["truth"][4].image).all(axis=2)
    assert (known | hole).all()
