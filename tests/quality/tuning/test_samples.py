"""What a network is tuned on: its calls on calibration data, divided into samples."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from codesign.errors import InputError
from codesign.models.custom import Batch, CustomTask
from codesign.quality.tuning.samples import Samples


class Scaled(nn.Module):
    """A linear layer, whose outputs may be scaled by one number for all samples."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(4, 3)

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        y: Tensor = self.line(x)
        return y if scale is None else y * scale


def inputs(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))


def task(calibration: Any, module: nn.Module | None = None, **options: Any) -> CustomTask:
    return CustomTask("line", module or Scaled(), calibration, inputs(8, 9), **options)


def test_a_fifth_is_held_out_and_the_rest_is_trained_on() -> None:
    found = Samples.of(task(inputs(50)))
    assert (found.training.count, found.held_out.count) == (40, 10)
    rows = torch.cat([call.args[0] for share in (found.training, found.held_out) for call in share.batches(8)])
    assert torch.equal(rows.sort(dim=0).values, inputs(50).sort(dim=0).values)


def test_what_is_shared_by_all_samples_stays_whole() -> None:
    found = Samples.of(task((inputs(50), torch.tensor([2.0]))))
    call = found.training.drawn(8, torch.Generator().manual_seed(0))
    assert [len(each) for each in (*call.args, call.returned)] == [8, 1, 8]


def test_the_steps_of_a_sampler_hold_out_the_same_samples() -> None:
    def twice(module: nn.Module, x: Tensor) -> Tensor:
        module(x)
        found: Tensor = module(x + 1)
        return found

    found = Samples.of(task(inputs(12), forward=twice))
    first, second = found.held_out.rows
    assert first.tolist() == second.tolist() == [2, 7]


def test_a_call_whose_samples_depend_on_each_other_is_one_sample() -> None:
    class Centred(Scaled):
        def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
            y: Tensor = self.line(x)
            return y - y.mean(dim=0)

    batches = [Batch(inputs(6, seed)) for seed in range(10)]
    found = Samples.of(task(batches, Centred()))
    assert (found.training.count, found.held_out.count) == (8, 2)
    assert {len(call.args[0]) for call in found.training.batches(8)} == {6}


def test_the_hash_is_of_the_data() -> None:
    first, same, other = (Samples.of(task(inputs(20, seed))).data for seed in (0, 0, 1))
    assert first == same != other


def test_one_sample_is_too_few() -> None:
    with pytest.raises(InputError, match=r"line: tuning needs .* two samples or more; they hold one sample"):
        Samples.of(task(inputs(1)))


def test_a_network_whose_methods_are_called_instead_of_itself_is_refused() -> None:
    def inner(module: Any, x: Tensor) -> Tensor:
        found: Tensor = module.line(x)
        return found

    with pytest.raises(InputError, match="they hold no call of the network itself"):
        Samples.of(task(inputs(20), forward=inner))


def test_a_network_with_a_state_that_grows_is_refused() -> None:
    class Counting(Scaled):
        calls = 0

        def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
            self.calls += 1
            y: Tensor = self.line(x)
            return y + self.calls

    with pytest.raises(InputError, match="line: a call of the network that is made again returns something else"):
        Samples.of(task(inputs(20), Counting()))
