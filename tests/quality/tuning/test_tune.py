"""Weights are tuned under an assignment, with the float network as the teacher."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from codesign.errors import InputError
from codesign.formats import Assignment
from codesign.models.custom import CustomTask, Loss
from codesign.models.streaming import streamed
from codesign.quality import Evaluator
from codesign.quality.tuning import Options, Tuned, tune
from codesign.quality.tuning import tune as tuning

QUICK = Options(steps=40, rate=0.01)


class Small(nn.Module):
    """Some hundred weights: a convolution and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.head = nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(torch.nn.functional.silu(self.conv(x)).mean(dim=(2, 3)))
        return found


def data(count: int, seed: int) -> Tensor:
    return torch.randn(count, 1, 6, 6, generator=torch.Generator().manual_seed(seed))


def small(metric: Loss | None = None, calibration: int = 60) -> CustomTask:
    return CustomTask("small", Small(), data(calibration, 1), data(40, 2), metric)


def quiet(*_: object) -> None: ...


def tuned(task: CustomTask, formats: str, options: Options = QUICK) -> Tuned:
    return tune(Evaluator(task), Assignment.uniform(task.workload(), formats), options, quiet)


@pytest.mark.parametrize("formats", ["int3:int8", "int4_g32:int8", "mxfp4", "int4:int8_token"])
def test_tuned_weights_lose_less_on_data_that_they_have_not_seen(formats: str) -> None:
    found = tuned(small(), formats)
    assert found.improved
    assert found.after.value < found.before.value
    assert found.held_out_after < found.held_out_before
    assert (found.steps, found.stopped) == (40, None)


def test_a_divergence_is_tuned_by_a_divergence() -> None:
    def kl(logits: Tensor, reference: Tensor) -> Tensor:
        ours, floats = logits.log_softmax(-1), reference.log_softmax(-1)
        return (floats.exp() * (floats - ours)).sum(-1)

    task = small(Loss(kl, probe="kl"))
    logits, wanted = torch.randn(4, 6), torch.randn(4, 6)
    assert torch.allclose(task.distance(logits, wanted), kl(logits, wanted).mean())
    assert float(task.distance(logits + 3, logits)) == pytest.approx(0, abs=1e-6)  # as probabilities are the same
    found = tuned(task, "int3:int8")
    assert found.after.value < found.before.value


def test_weights_that_a_method_rounds_begin_as_it_rounds_them() -> None:
    task = small()
    evaluator = Evaluator(task)
    assignment = Assignment.uniform(task.workload(), "int4:int8 + gptq")
    found = tune(evaluator, assignment, Options(steps=1, rate=1e-9), quiet)
    assert found.held_out_after <= found.held_out_before
    better = tune(evaluator, assignment, QUICK, quiet)
    assert better.after.value < better.before.value
    assert {formats.method for _, formats in better.assignment.layers} == {"nearest"}
    again = Evaluator(task, weights=better.weights)(better.assignment)
    assert again.value == better.after.value


def test_where_nothing_better_is_found_the_weights_are_those_of_before() -> None:
    task = small()
    assignment = Assignment.uniform(task.workload(), "int4:int8 + gptq")
    found = tune(Evaluator(task), assignment, Options(steps=10, rate=1e3), quiet)
    assert not found.improved
    assert found.held_out_after == found.held_out_before
    assert (found.assignment, found.after) == (assignment, found.before)
    assert all(torch.equal(found.weights[name], p) for name, p in task.module.named_parameters())


def test_the_same_seed_gives_the_same_weights_and_another_one_others() -> None:
    first, second = (tuned(small(), "int3:int8").weights for _ in range(2))
    other = tuned(small(), "int3:int8", Options(steps=40, rate=0.01, seed=1)).weights
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_the_task_keeps_its_network_and_its_identity() -> None:
    task = small()
    before, fingerprint = copy.deepcopy(task.module.state_dict()), task.fingerprint()
    tuned(task, "int3:int8")
    assert all(torch.equal(before[name], value) for name, value in task.module.state_dict().items())
    assert task.fingerprint() == fingerprint
    assert all(p.grad is None for p in task.module.parameters())
    assert not task.module._forward_hooks


def test_a_time_may_take_the_place_of_a_number_of_steps() -> None:
    found = tuned(small(), "int3:int8", Options(seconds=0.3, rate=0.01))
    assert found.steps > 1
    assert 0.3 <= found.seconds < 3


def test_an_interrupt_keeps_the_best_so_far() -> None:
    said: list[int] = []

    def interrupted(_stage: str, done: int, total: int, _detail: str) -> None:
        said.append(done)
        if done == 20 and total == 40:
            raise KeyboardInterrupt

    task = small()
    found = tune(Evaluator(task), Assignment.uniform(task.workload(), "int3:int8"), QUICK, interrupted)
    assert isinstance(found.stopped, KeyboardInterrupt)
    assert found.steps == 20
    assert found.after.value < found.before.value


def test_a_network_in_half_precision_is_refused() -> None:
    task = CustomTask("half", Small().bfloat16(), data(20, 1).bfloat16(), data(20, 2).bfloat16())
    with pytest.raises(InputError, match=r"half: weight 'conv.weight' is bfloat16: tuning takes networks in float32"):
        tuned(task, "int4:int8")


def test_a_network_that_is_read_block_by_block_is_refused() -> None:
    task = small()
    values = {name: value.clone() for name, value in task.module.state_dict().items()}
    evaluator = Evaluator(task)
    assignment = Assignment.uniform(task.workload(), "int4:int8")
    sources = {name: (lambda value=value: value) for name, value in values.items()}
    task.module = streamed(task.module, tuning.__globals__["__file__"], sources)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="small: its weights are read block by block"):
        tune(evaluator, assignment, QUICK, quiet)


def test_a_network_without_gradients_is_refused() -> None:
    class Cut(Small):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).detach()

    task = CustomTask("cut", Cut(), data(20, 1), data(20, 2))
    with pytest.raises(InputError, match="cut: no gradient of the outputs reaches the weights"):
        tuned(task, "int4:int8")
