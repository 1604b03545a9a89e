"""What of a network's result is scored, batches with labels, further metrics, and samplers with their noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from codesign import Batch, CustomTask, Loss, Metric
from codesign.errors import InputError
from codesign.formats import Assignment
from codesign.models.custom import chosen
from codesign.models.user_task import as_task
from codesign.quality import Evaluator
from codesign.quality.sensitivity import sensitivities
from codesign.quality.trial import try_metric

ONE, TWO = torch.ones(3, 2), torch.zeros(3, 5)


@dataclass
class Result:
    logits: Tensor
    steps: int = 3


@pytest.mark.parametrize(
    ("returned", "path"),
    [
        (ONE, ""),
        ({"logits": ONE, "ids": torch.arange(3)}, ""),
        ((ONE, None), ""),
        (Result(ONE), ""),
        (Result(ONE), "logits"),
        ({"a": {"b": (TWO, ONE)}}, "a.b.1"),
        ([TWO, ONE], "-1"),
    ],
)
def test_a_part_is_chosen_by_its_path_or_as_the_only_one(returned: Any, path: str) -> None:
    assert chosen("net", returned, path) is ONE


@pytest.mark.parametrize(
    ("returned", "path", "said"),
    [
        ((ONE, TWO), "", "say which with 'output' \\(one of: 0, 1\\)"),
        ({"logits": ONE}, "logit", "has no 'logit'; did you mean 'logits'"),
        (None, "", "the module returns NoneType, expected one tensor"),
        (Result(ONE), "__dict__", "has no '__dict__'"),
    ],
)
def test_what_is_no_single_tensor_is_said(returned: Any, path: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        chosen("net", returned, path)


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 32), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        hidden = self.first(x).relu()
        return {"hidden": hidden, "logits": self.second(hidden)}


class Stream:
    """Batches that are made when they are read."""

    def __init__(self, count: int, labelled: bool = True) -> None:
        self.count, self.labelled, self.read = count, labelled, 0

    def __iter__(self) -> Iterator[Batch]:
        for i in range(self.count):
            self.read += 1
            generator = torch.Generator().manual_seed(i)
            x = torch.randn(4 + i % 2, 16, generator=generator)
            labels = torch.randint(0, 4, (len(x),), generator=generator)
            yield Batch(x, labels if self.labelled else None)


def cross_entropy(outputs: Tensor, _: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs, labels, reduction="none")


def right(outputs: Tensor, _: Tensor, labels: Tensor) -> Tensor:
    return (outputs.argmax(1) == labels).float()


def network() -> Two:
    torch.manual_seed(0)
    return Two().eval()


def whole(stream: Stream) -> Batch:
    batches = list(stream)
    return Batch(torch.cat([b.inputs for b in batches]), torch.cat([b.labels for b in batches]))


def test_batches_give_what_one_batch_gives() -> None:
    module, stream = network(), Stream(6)
    parts = CustomTask(
        "net", module, Stream(2), stream, Loss(cross_entropy, name="ce"), more=[Metric(right)], output="logits"
    )
    one = whole(stream)
    loss, more = Loss(cross_entropy, name="ce"), [Metric(right)]
    together = CustomTask("net", module, whole(Stream(2)).inputs, [one], loss, more=more, output="logits")
    for name in ("fp32", "int4", "mxfp4"):
        found, wanted = (
            Evaluator(task).metrics(Assignment.uniform(task.workload(), name)) for task in (parts, together)
        )
        assert [q.metric for q in found] == ["ce", "right"]
        assert [q.value for q in found] == pytest.approx([q.value for q in wanted], rel=1e-6)
        assert found[0].n == wanted[0].n == 27
        assert found[1].delta == pytest.approx(wanted[1].delta)


def test_a_loss_of_labels_is_raw_and_a_distance_from_the_float_network_logarithmic() -> None:
    labelled = CustomTask("net", network(), Stream(2), Stream(3), cross_entropy, output="logits")
    assert (labelled.scale, labelled.unit) == ("raw", "")
    distance = CustomTask("net", network(), Stream(2), Stream(3), output="logits")
    assert (distance.scale, distance.unit) == ("log10", "log10")
    assert try_metric(Evaluator(distance)).value == -12
    loss = Loss(lambda y, r: (y - r).abs().sum(1), "raw")
    stays = CustomTask("net", network(), Stream(2), Stream(3), loss, output="logits")
    assert stays.scale == "raw"


def test_sensitivities_of_batches_predict_what_is_measured() -> None:
    from codesign.formats import FormatPair

    task = CustomTask("net", network(), Stream(12), Stream(12), output="logits")  # nothing is clipped
    evaluator, pairs = Evaluator(task, ranges="minmax"), [FormatPair.parse(p) for p in ("int8", "int4", "mxfp4")]
    table = sensitivities(evaluator, pairs, probes=30)
    exact = dict.fromkeys(evaluator.layers, FormatPair.parse("fp32"))
    for row, layer in zip(table, evaluator.layers, strict=True):
        for loss, pair in zip(row, pairs, strict=True):
            measured = evaluator(Assignment.of_pairs(exact | {layer: pair}, evaluator.layers)).value
            assert np.log10(loss) == pytest.approx(measured, abs=0.45)


def test_a_sampler_draws_the_same_noise_in_every_evaluation() -> None:
    def sampled(module: nn.Module, x: Tensor) -> Any:
        for _ in range(3):
            x = x + 0.1 * torch.randn_like(x)
            out = module(x)
        return out

    task = CustomTask("net", network(), Stream(2, False), Stream(3, False), forward=sampled, output="logits")
    assert {op.layer: op.calls for op in task.workload().operators} == {"first": 3, "second": 3}
    evaluator = Evaluator(task)
    before = torch.random.get_rng_state()
    assert try_metric(evaluator).value == -12
    assert torch.equal(before, torch.random.get_rng_state())
    assert evaluator(Assignment.uniform(task.workload(), "fp32")).value == -12


def test_data_that_can_be_read_once_are_refused() -> None:
    with pytest.raises(InputError, match="an iterator can be read only once"):
        as_task("python:mine:task", "net", CustomTask("net", network(), iter(Stream(2)), Stream(2), output="logits"))
    with pytest.raises(InputError, match="the data hold no batch"):
        as_task("python:mine:task", "net", CustomTask("net", network(), Stream(0), Stream(2), output="logits"))


def test_a_part_of_batches_is_their_first_third() -> None:
    task = CustomTask("net", network(), Stream(2), Stream(12), cross_entropy, output="logits")
    part = task.part()
    assert part is not None
    assert len(part.rows) == 18
    found = sum(len(outputs["output"]) for outputs in part.task.batches(task.module))
    assert found == 18


def test_the_network_runs_once_for_each_batch_to_find_a_part() -> None:
    class Tabled(nn.Module):
        calls = 0

        def forward(self, x: Tensor, table: Tensor) -> Tensor:
            self.calls += 1
            return x @ table

    module, table = Tabled(), torch.ones(4, 3)  # of whose rows there are fewer than samples: the output tells them
    data = [Batch((torch.full((6, 4), float(i)), table)) for i in range(4)]
    task = CustomTask("net", module, data[:1], data, None)
    before = module.calls
    part = task.part()
    assert part is not None
    assert module.calls - before == len(data) + 1  # and one for the scale of the metric
    assert [len(outputs["output"]) for outputs in part.task.batches(module)] == [6, 2]
