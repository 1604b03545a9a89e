"""The scale on which losses are searched: above the float network, positive, by logarithms."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codesign.errors import InputError
from codesign.search import load_space, open_study, run_study
from codesign.search.engine.engine import Engine
from codesign.search.engine.scale import AboveFloat, log_losses
from codesign.search.engine.surrogate import Surrogate
from codesign.search.study.scales import loss_scales
from tests.search import SPACE


class Plain:
    def raw(self, value: float) -> float:
        return value

    def from_raw(self, raw: float) -> float:
        return raw


def test_a_loss_is_counted_from_the_float_network() -> None:
    """A cross-entropy of 0.7 nats says nothing of what was lost, unless the float network's is known."""
    scale = AboveFloat(Plain(), float_raw=0.5, least=0.01)
    assert scale.raw(0.7) == pytest.approx(0.2)
    assert scale.from_raw(scale.raw(0.7)) == pytest.approx(0.7)
    assert scale.raw(0.49) == 0.01  # better than float by noise


def test_a_gain_in_quality_counts_by_its_logarithm() -> None:
    scale = AboveFloat(Plain(), float_raw=0.0, least=1e-9)
    steps = np.diff(log_losses(scale, np.array([[1e-4, 1e-3], [1e-2, 1e-1]])).reshape(-1))
    assert steps == pytest.approx(np.log(10))


def test_a_surrogate_refuses_losses_that_are_not_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        Surrogate(np.ones((2, 2))).fitted(np.zeros((5, 2), dtype=int), np.array([1.0, 2.0, -3.0, 1.0, 1.0]))


class Searched:
    """A search, what its surrogate learned from, and by what its engine weighed gains."""

    def __init__(self, folder: Path, task: str, losses: str = "log") -> None:
        self.learned: list[tuple[int, bool]] = []  # losses, and whether interactions were fitted to them
        self.log_losses: list[bool] = []
        file = folder / "space.yaml"
        text = SPACE.replace("tests.tiny:task", f"tests.tiny:{task}")
        file.write_text(text.replace("{evaluations: 14", f"{{losses: {losses}, evaluations: 14"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Surrogate, "fitted", self._watched_fit(Surrogate.fitted))
            patch.setattr(Engine, "__init__", self._watched_start(Engine.__init__))
            self.study = run_study(open_study(load_space(file), folder / "study"), evaluations=14)

    def _watched_fit(self, fitted: Callable[..., Surrogate]) -> Callable[..., Surrogate]:
        def watched(surrogate: Surrogate, choices: np.ndarray, losses: np.ndarray) -> Surrogate:
            found = fitted(surrogate, choices, losses)
            self.learned.append((len(losses), found.interactions is not None))
            return found

        return watched

    def _watched_start(self, made: Callable[..., None]) -> Callable[..., None]:
        def watched(engine: Engine, *args: Any, **kwargs: Any) -> None:
            self.log_losses.append(kwargs["log_losses"])
            made(engine, *args, **kwargs)

        return watched


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Searched]:
    """The search of a task, made once."""
    return functools.cache(lambda *asked: Searched(tmp_path_factory.mktemp("searched"), *asked))


@pytest.mark.slow
@pytest.mark.parametrize("task", ["task", "in_log10", "in_decibels", "undeclared"])
def test_the_engine_learns_from_a_loss_of_any_scale(task: str, searched: Callable[..., Searched]) -> None:
    """Measured losses reach the surrogate, and the same networks are found by their error and by its logarithm."""
    learned = searched(task).learned
    assert all(ok for _, ok in learned)
    assert learned[-1][0] >= 8


def test_a_declared_scale_changes_no_proposal(searched: Callable[..., Searched]) -> None:
    """The log10 of every sample's error is another metric than its mean; decibels are ten times the log10."""
    runs = [searched(task).study for task in ("in_log10", "in_decibels")]
    choices = [np.array(run.measured["tiny"].choices) for run in runs]
    assert np.array_equal(*choices)
    values = [np.array([q.value for q in run.measured["tiny"].qualities]) for run in runs]
    assert values[1] == pytest.approx(10 * values[0], rel=1e-5)


@pytest.mark.slow
def test_losses_within_noise_of_the_float_network_count_as_equally_small(searched: Callable[..., Searched]) -> None:
    """A cross-entropy may come out below the float network's: by luck, and by how little is no merit."""
    study = searched("labelled").study
    scale = loss_scales(study)["tiny"]
    own, uniform = study.float_qualities["tiny"], study.measured["tiny"].qualities
    noise = min(np.subtract(q.draws, own.draws).std(ddof=1) for q in uniform)
    assert own.value > 0
    assert scale.least >= noise > 0
    assert scale.raw(own.value - 0.5 * noise) == scale.raw(own.value + 0.5 * noise) == scale.least


def test_a_network_of_one_layer_is_searched(searched: Callable[..., Searched]) -> None:
    study = searched("one_layer").study
    assert len(study.measured["tiny"].choices) == 4  # there is no other assignment


@pytest.mark.slow
@pytest.mark.parametrize(("asked", "log"), [(("task",), True), (("task", "linear"), False)], ids=["log", "linear"])
def test_the_space_says_by_what_gains_are_weighed(
    asked: tuple[str, ...], log: bool, searched: Callable[..., Searched]
) -> None:
    assert searched(*asked).log_losses == [log]


@pytest.mark.parametrize("task", ["infinite", "psnr"])
def test_a_metric_that_is_no_loss_ends_a_search_before_anything_is_measured(task: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="loss"):
        Searched(tmp_path, task)
    study = open_study(load_space(tmp_path / "space.yaml"), tmp_path / "study", resume=True)
    assert study.ledger.records() == []
