"""A prepared task is the same task with another network, under an identity of its own."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.errors import InputError
from codesign.formats import Assignment
from codesign.models import load_task
from codesign.models.custom import CustomTask
from codesign.models.preparation import prepared
from codesign.models.preparation.changes import Change, Guard, kept
from codesign.models.preparation.types import Match
from codesign.quality import Evaluator
from tests.models.preparation.networks import Apply, task_of


@pytest.fixture
def task() -> CustomTask:
    parts = {"norm": nn.LayerNorm(8), "a": nn.Linear(8, 16), "b": nn.Linear(16, 4)}
    return task_of(Apply(lambda m, x: m.b(F.relu(m.a(m.norm(x)))), **parts), 8)


def test_its_fingerprint_is_that_of_the_original_and_the_steps(task: CustomTask) -> None:
    found = {prepared(task, steps).fingerprint() for steps in ((), ("fold",), ("fold", "equalize"), ("equalize",))}
    assert len(found | {task.fingerprint()}) == 5
    assert prepared(task, ("fold",)).fingerprint() == prepared(task, ("fold",)).fingerprint()
    with torch.no_grad():
        task.module.get_submodule("a").weight += 1
    assert prepared(task, ("fold",)).fingerprint() not in found


def test_it_is_evaluated_as_any_other(task: CustomTask) -> None:
    made = prepared(task, ("smooth",))
    layers = made.workload().layer_kinds()
    assert Evaluator(made)(Assignment.uniform(made.workload(), "int8")).n == 4
    assert made.preparation is not None
    assert layers == task.workload().layer_kinds()
    assert task.preparation is None


def test_a_guarded_task_runs_its_own_network(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def task():\n"
        "    torch.manual_seed(0)\n"
        "    x = torch.randn(30, 8)\n"
        "    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)), x, x, None\n"
    )
    made = prepared(load_task("python:mine:task", search_path=tmp_path), ("equalize",))
    with torch.no_grad():
        made.module.get_submodule("0").weight.zero_()
        made.module.get_submodule("0").bias.zero_()
    part = made.part()
    assert part is not None
    for each in (made, part.task):
        output = next(iter(each.batches(each.module)))["output"]
        assert bool((output == output[0]).all())
    assert part.task.module is made.module


def test_unknown_steps_and_streamed_networks_are_refused(task: CustomTask) -> None:
    with pytest.raises(InputError, match="did you mean 'fold'"):
        prepared(task, ("folds",))  # type: ignore[arg-type]
    task.module._codesign_stream = object()
    with pytest.raises(InputError, match="read from disk block by block cannot be prepared"):
        prepared(task, ("fold",))


def test_float64_decides_where_float32_is_too_coarse(task: CustomTask) -> None:
    """The sum with a large number is rounded to 1/2000, which is more than 1e-4 of the outputs."""
    parts = {"a": nn.Linear(8, 16), "b": nn.Linear(16, 4)}
    coarse = task_of(Apply(lambda m, x: m.b(F.relu(m.a(x))) + 8192.0 - 8192.0, **parts), 8)
    made = prepared(coarse, ("equalize",))
    assert made.preparation is not None
    assert len(made.preparation.matches) == 1
    assert made.preparation.error < 1e-6


def test_a_network_that_takes_whole_batches_only_is_run_on_them() -> None:
    def put(m: Any, x: Tensor) -> Tensor:
        assert len(x) == 4
        return m.b(F.relu(m.a(x)))

    task = task_of(Apply(put, a=nn.Linear(8, 16), b=nn.Linear(16, 4)), 8)
    made = prepared(task, ("equalize",))
    assert made.preparation is not None
    assert len(made.preparation.matches) == 1


def test_a_network_of_which_only_parts_are_called_is_prepared() -> None:
    parts = {"a": nn.Linear(8, 16), "b": nn.Linear(16, 4)}
    task = task_of(Apply(lambda m, x: x, **parts), 8, forward=lambda m, x: m.b(F.relu(m.a(x))))
    made = prepared(task, ("equalize",))
    assert made.preparation is not None
    assert [match.modules for match in made.preparation.matches] == [("a", "b")]


def test_a_wrong_change_is_taken_back_and_the_others_stay(task: CustomTask) -> None:
    """By halves, until it is found."""
    module = copy.deepcopy(task.module)
    guard = Guard(task, module)
    a, b = module.get_submodule("a"), module.get_submodule("b")

    def right(k: int) -> Change:
        def apply(journal: object) -> None:
            journal.write(a.weight, a.weight * (1 + (torch.arange(16) == k))[:, None])
            journal.write(a.bias, a.bias * (1 + (torch.arange(16) == k)))
            journal.write(b.weight, b.weight / (1 + (torch.arange(16) == k)))

        return Change(Match("equalize", "", (str(k),)), apply)

    wrong = Change(Match("fold", "", ("wrong",)), lambda journal: journal.write(b.bias, b.bias + 1))
    stayed, refused = kept(guard, [right(0), right(1), wrong, right(2)])
    assert [change.match.modules[0] for change in stayed] == ["0", "1", "2"]
    assert [change.match.modules[0] for change, _ in refused] == ["wrong"]
    assert "the outputs would change by" in refused[0][1]
    assert guard.error() < 1e-5
