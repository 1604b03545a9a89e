"""The restoration U-Net and its diffusion chain."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from codesign.models.restore.diffusion import KAPPA, diffuse, eta, sample, step
from codesign.models.restore.network import TASKS, RestoreUNet, SelfAttention, expected_change
from codesign.workload import trace


@pytest.fixture(scope="module")
def network() -> RestoreUNet:
    torch.manual_seed(0)
    network = RestoreUNet().eval()
    nn.init.normal_(network.conv_out.weight, std=0.1)  # it begins at zero: an untrained network changes nothing
    return network


def inputs(count: int = 4, size: int = 32) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(noisy, degraded, mask, time, task): one image for each task, a hole in those that have one."""
    g = torch.Generator().manual_seed(1)
    noisy, degraded = torch.rand(2, count, 3, size, size, generator=g) * 2 - 1
    task = torch.arange(count) % len(TASKS)
    mask = torch.zeros(count, 1, size, size)
    mask[task >= 2, :, 8:20, 4:12] = 1
    return noisy, degraded, mask, torch.full((count,), 0.5), task


def test_it_has_one_to_three_million_parameters(network: RestoreUNet) -> None:
    assert 1e6 <= sum(p.numel() for p in network.parameters()) <= 3e6


def test_it_has_at_least_forty_convolutions_and_linear_layers(network: RestoreUNet) -> None:
    assert sum(isinstance(m, (nn.Conv2d, nn.Linear)) for m in network.modules()) >= 40


def test_it_attends_at_two_resolutions(network: RestoreUNet) -> None:
    tokens = []
    hooks = [
        m.register_forward_hook(lambda _m, args, _out: tokens.append(args[0].shape[2] * args[0].shape[3]))
        for m in network.modules()
        if isinstance(m, SelfAttention)
    ]
    with torch.no_grad():
        network(*inputs(1, 64))
    for hook in hooks:
        hook.remove()
    assert set(tokens) == {16 * 16, 8 * 8}


def test_every_layer_is_seen_by_the_workload(network: RestoreUNet) -> None:
    kinds = trace(network, inputs(1, 64)).layer_kinds()
    layers = {n for n, m in network.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    assert layers == {layer for layer, kind in kinds.items() if kind != "attention"}
    assert sum(kind == "attention" for kind in kinds.values()) == 5


def test_known_pixels_of_inpainting_and_outpainting_are_kept(network: RestoreUNet) -> None:
    noisy, degraded, mask, time, task = inputs()
    with torch.no_grad():
        clean = network(noisy, degraded, mask, time, task)
    known = (mask == 0).expand_as(clean)
    assert torch.equal(clean[2:][known[2:]], degraded[2:][known[2:]])
    assert not torch.isclose(clean[2:][~known[2:]], degraded[2:][~known[2:]]).all()
    assert not torch.isclose(clean[:2], degraded[:2]).all()


def test_the_task_and_the_time_change_the_result(network: RestoreUNet) -> None:
    noisy, degraded, mask, time, task = inputs()
    with torch.no_grad():
        base = network(noisy, degraded, mask, time, task)[0]
        other_task = network(noisy, degraded, mask, time, 1 - task.clamp(max=1))[0]
        other_time = network(noisy, degraded, mask, time + 0.3, task)[0]
    assert not torch.allclose(base, other_task, atol=1e-4)
    assert not torch.allclose(base, other_time, atol=1e-4)


def test_an_image_does_not_depend_on_the_others_of_its_batch(network: RestoreUNet) -> None:
    batch = inputs()
    with torch.no_grad():
        together = network(*batch)[2:3]
        alone = network(*(x[2:3] for x in batch))
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("time", "kept"), [(1.0, 0.0), (0.75, 0.857), (0.5, 0.992), (0.25, 0.9996)])
def test_an_untrained_network_keeps_what_the_chain_has_come_to_and_the_more_the_later(time: float, kept: float) -> None:
    """Of a change of 0.1, with e = 0.002^(1 - t): (1 - e)^2 (2 - (1 - e)^2)."""
    degraded, now = torch.full((1, 3, 32, 32), 0.5), torch.tensor([time])
    state = diffuse(degraded + 0.1, degraded, now, torch.zeros_like(degraded))
    with torch.no_grad():
        clean = RestoreUNet()(state, degraded, torch.zeros(1, 1, 32, 32), now, torch.tensor([0]))
    torch.testing.assert_close(clean, degraded + 0.1 * kept, atol=2e-4, rtol=0)


def test_the_chain_starts_at_the_degraded_image_and_ends_near_the_clean_one() -> None:
    clean, degraded = torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 8, 8)
    still = torch.zeros_like(clean)
    torch.testing.assert_close(diffuse(clean, degraded, torch.ones(2), still), degraded)
    assert diffuse(clean, degraded, torch.zeros(2), still).abs().max() < 0.01
    assert float(eta(torch.tensor([0.5]))) == pytest.approx(0.002**0.5)


def test_a_step_with_the_true_image_has_the_moments_of_the_chain() -> None:
    clean, degraded = torch.zeros(4000, 1, 2, 2), torch.ones(4000, 1, 2, 2)
    g = torch.Generator().manual_seed(0)
    now, before = torch.full((4000,), 0.9), torch.full((4000,), 0.6)
    x = diffuse(clean, degraded, now, torch.randn(clean.shape, generator=g))
    stepped = step(x, clean, now, before, torch.randn(clean.shape, generator=g))
    share = float(eta(torch.tensor([0.6])))
    assert float(stepped.mean()) == pytest.approx(share, abs=0.002)
    assert float(stepped.std()) == pytest.approx(KAPPA * share**0.5, rel=0.03)


def test_more_change_is_expected_at_contrast_and_in_holes() -> None:
    degraded = torch.zeros(1, 3, 32, 32)
    degraded[..., 16:] = 1.0
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., :8, :4] = 1
    expected = expected_change(degraded, mask)[0, 0]
    assert expected[20, 16] > 2 * expected[20, 4]
    assert expected[4, 2] > 2 * expected[20, 4]


def test_sampling_with_a_perfect_network_gives_the_clean_image_after_as_many_calls_as_steps() -> None:
    clean, times = torch.rand(2, 3, 8, 8), []

    def predict(x: Tensor, time: Tensor) -> Tensor:
        times.append(float(time[0]))
        return clean

    assert torch.equal(sample(predict, torch.zeros_like(clean), torch.randn(4, 2, 3, 8, 8)), clean)
    assert times == [1.0, 0.75, 0.5, 0.25]
