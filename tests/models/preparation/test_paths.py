"""Networks that take other paths in other calls, or for other samples, than the first of the calibration run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from codesign.models.custom import CustomTask
from codesign.models.preparation import prepared
from codesign.models.preparation import task as preparing
from codesign.models.preparation.changes import WholeGuard
from codesign.models.preparation.reach import noticing
from codesign.models.preparation.running import all_outputs, difference
from tests.models.preparation.networks import Apply, modules, reasons, shaken


class Branches(nn.Module):
    """Another layer, or none, reads the norm at late times."""

    def __init__(self, *, direct: bool = False) -> None:
        super().__init__()
        self.inp, self.norm, self.a = nn.Linear(8, 16), nn.LayerNorm(16), nn.Linear(16, 16)
        self.b = nn.Identity() if direct else nn.Linear(16, 16)

    def forward(self, x: Tensor, t: int) -> Tensor:
        h = self.norm(self.inp(x))
        found: Tensor = self.a(h) if t > 500 else self.b(h)
        return found


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inp, self.norm = nn.Linear(8, 16), nn.LayerNorm(16)
        self.experts = nn.ModuleList(nn.Linear(16, 4) for _ in range(4))

    def forward(self, x: Tensor, chosen: Tensor) -> Tensor:
        h = self.norm(self.inp(x))
        rows = [(chosen == i).nonzero().flatten() for i in range(4)]
        found = [e(h.index_select(0, r)) for e, r in zip(self.experts, rows, strict=True) if len(r)]
        return torch.cat(found)[torch.cat(rows).argsort()]


def data() -> Tensor:
    return torch.randn(32, 8, generator=torch.Generator().manual_seed(1))


def branching(*times: int, direct: bool = False) -> CustomTask:
    def forward(module: nn.Module, x: Tensor) -> Any:
        return torch.stack([module(x, t) for t in times])

    return CustomTask("branches", shaken(Branches(direct=direct)), data(), data(), forward=forward)


def mixture(*experts: int) -> CustomTask:
    """The first two samples go to the first of the experts."""
    chosen = torch.tensor([experts[0]] * 2 + [experts[i % len(experts)] for i in range(30)])
    return CustomTask("experts", shaken(Experts()), (data(), chosen), (data(), chosen))


def error(task: CustomTask, made: Any) -> float:
    return difference(all_outputs(task, task.module), all_outputs(task, made.module))


def test_a_branch_of_a_later_call_is_changed_too() -> None:
    task = branching(999, 1)
    made = prepared(task, ("fold",))
    assert made.preparation is not None
    assert modules(made.preparation.matches) == [("norm", "a", "b")]
    assert error(task, made) == pytest.approx(made.preparation.error, abs=1e-6)
    assert made.preparation.error < 1e-5


def test_experts_that_the_first_samples_do_not_reach_are_changed_too() -> None:
    task = mixture(0, 1, 2, 3)
    made = prepared(task, ("fold",))
    assert made.preparation is not None
    assert modules(made.preparation.matches) == [("norm", *(f"experts.{i}" for i in range(4)))]
    assert error(task, made) == pytest.approx(made.preparation.error, abs=1e-6)
    assert made.preparation.error < 1e-5


@pytest.mark.parametrize("task", [branching(999), mixture(0, 1, 2)], ids=["branch", "expert"])
def test_what_a_layer_that_never_runs_may_read_stays(task: CustomTask) -> None:
    found = prepared(task, ("fold", "equalize", "smooth", "rotate")).preparation
    assert found is not None
    assert not found.matches
    assert "which calibration never runs, may read or write its 16 channels" in reasons(found)["norm"]


def test_a_layer_of_other_sizes_that_never_runs_stops_nothing() -> None:
    assert noticing({"head.weight": (4, 10), "head.bias": (4,)}, 16) == "head.weight"  # heads of 4, after a reshape
    assert noticing({"head.weight": (3, 10), "head.bias": (4,)}, 16) is None
    assert noticing({"norm.weight": (16,)}, 16) == "norm.weight"


def test_a_branch_without_parameters_is_found_by_the_whole_comparison() -> None:
    task = branching(999, 1, direct=True)
    made = prepared(task, ("fold",))
    assert made.preparation is not None
    assert not made.preparation.matches
    assert "the outputs would change by" in reasons(made.preparation)["norm"]
    assert error(task, made) == 0.0


def test_only_the_changes_that_the_whole_comparison_refuses_are_taken_back() -> None:
    def put(m: Any, x: Tensor) -> Tensor:
        h = m.norm(m.first(x))
        y = torch.relu(m.mid(h))
        return m.end(torch.relu(m.last(y + h if float(x.sum()) > 1e4 else y)))

    parts = {"first": nn.Linear(8, 8), "norm": nn.LayerNorm(8), "mid": nn.Linear(8, 8), "last": nn.Linear(8, 6)}
    module = shaken(Apply(put, **parts, end=nn.Linear(6, 4)))

    def found(far: float) -> list[tuple[str, ...]]:
        task = CustomTask(
            "late", module, data(), data(), forward=lambda m, x: torch.stack([m(x), m(x + 1), m(x + far)])
        )
        made = prepared(task, ("fold", "equalize"))
        assert made.preparation is not None
        assert error(task, made) == pytest.approx(made.preparation.error, abs=1e-6)
        assert made.preparation.error < 1e-5
        assert far < 50 or "the outputs would change by" in reasons(made.preparation)["norm"]
        return modules(made.preparation.matches)

    assert found(1) == [("norm", "mid"), ("mid", "last"), ("last", "end")]
    assert found(100) == [("last", "end")]


def test_noise_is_the_same_in_both_runs() -> None:
    parts = {"norm": nn.LayerNorm(8), "a": nn.Linear(8, 4)}
    task = CustomTask("noisy", shaken(Apply(lambda m, x: m.a(m.norm(x)) + torch.randn(4), **parts)), data(), data())
    task.fingerprint()  # which looks for the scale of the loss in a run
    state = torch.random.get_rng_state()
    found = prepared(task, ("fold",)).preparation
    assert found is not None
    assert len(found.matches) == 1
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_fingerprint_tells_apart_what_stayed(monkeypatch: pytest.MonkeyPatch) -> None:
    task = branching(999, 1)
    usual = prepared(task, ("fold",)).fingerprint()
    assert prepared(task, ("fold",)).fingerprint() == usual

    def refuses(self: WholeGuard) -> tuple[bool, float]:
        return False, 1.0

    monkeypatch.setattr(preparing.WholeGuard, "accepts", refuses)  # as another machine's rounding may
    assert prepared(task, ("fold",)).fingerprint() != usual
