"""Candidates that are hopeless on a part of the samples are spared the others."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from optuna.trial import TrialState

from codesign.formats import FormatPair
from codesign.models.custom import CustomTask
from codesign.quality import Evaluator, Quality
from codesign.search import load_space, open_study, run_study
from codesign.search.engine.engine import Proposal
from codesign.search.engine.racing import Racing
from codesign.search.results.write import write_results
from codesign.search.space.network import Network
from tests.search import SPACE


class Believing:
    """An engine that expects a given loss of everything."""

    def __init__(self, mean: float, spread: float) -> None:
        self._belief = mean, spread

    def belief(self, name: str, choice: np.ndarray) -> tuple[float, float]:
        return self._belief


class Plain:
    def raw(self, value: float) -> float:
        return value

    def from_raw(self, raw: float) -> float:
        return raw


def quality(value: float, part: float) -> Quality:
    return Quality("loss", "", "minimize", value, value, value, 48, part=part)


@pytest.fixture
def racing() -> Racing:
    """Of a network whose wholes are twice their parts, give or take a tenth."""
    made, rng = Racing({"net": Plain()}, {"net": 1 / 3}), np.random.default_rng(0)
    made.learn("net", [quality(2.0 * math.exp(0.1 * z), 1.0) for z in rng.standard_normal(40)])
    return made


def proposal(useful_below: float) -> Proposal:
    return Proposal(0, {"net": np.zeros(3, dtype=int)}, {"net": useful_below})


def test_the_whole_is_foretold_from_the_part(racing: Racing) -> None:
    assert racing.whole("net", 3.0) == pytest.approx(6.0, rel=0.05)


def test_a_part_is_asked_where_the_candidate_is_likely_hopeless(racing: Racing) -> None:
    """The limit lies two standard deviations of what a part says beyond the value that the whole must have."""
    found = racing.enough(Believing(math.log(9.0), 0.3), proposal(4.0))
    assert found["net"] == pytest.approx(2.0 * math.exp(2 * 0.1), rel=0.1)


def test_no_part_is_asked_of_a_promising_candidate(racing: Racing) -> None:
    """It would be measured whole all the same, and the part on top."""
    assert racing.enough(Believing(math.log(3.0), 0.3), proposal(4.0)) == {}


def test_no_part_is_asked_where_any_quality_is_of_use(racing: Racing) -> None:
    assert racing.enough(Believing(math.log(9.0), 0.3), proposal(np.inf)) == {}


def test_nothing_is_said_of_parts_before_enough_wholes_are_known() -> None:
    made = Racing({"net": Plain()}, {"net": 1 / 3})
    made.learn("net", [quality(2.0, 1.0)] * 7)
    assert made.enough(Believing(math.log(9.0), 0.3), proposal(4.0)) == {}


def test_wholes_whose_part_is_not_known_say_nothing() -> None:
    made = Racing({"net": Plain()}, {"net": 1 / 3})
    made.learn("net", [Quality("loss", "", "minimize", 2.0, 2.0, 2.0, 48)] * 20)
    assert made.enough(Believing(math.log(9.0), 0.3), proposal(4.0)) == {}


# ---- the evaluator ---------------------------------------------------------------------------


@pytest.fixture
def rough(tiny: CustomTask) -> Network:
    pairs = (FormatPair.parse("int4:int8"),)
    load = tiny.workload()
    return Network(tiny, load, pairs, np.ones((len(load.layers), 1), dtype=bool))


def test_a_hopeless_part_ends_the_evaluation(tiny: CustomTask, rough: Network, tmp_path: Path) -> None:
    evaluator, assignment = Evaluator(tiny, cache=tmp_path), rough.assignment(np.zeros(len(rough.layers), dtype=int))
    whole = evaluator(assignment)
    assert whole.n == 48
    assert whole.part is not None
    given_up = evaluator(assignment, enough=whole.part - 0.5)
    assert given_up.of_part
    assert given_up.n == 16
    assert given_up.value == pytest.approx(whole.part, rel=1e-4)
    assert evaluator(assignment, enough=whole.part + 0.5) == whole
    before = evaluator.measured
    assert evaluator(assignment, enough=whole.part - 0.5) == given_up
    assert evaluator.measured == before


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param("restore", marks=pytest.mark.slow), "rewrite"])
def test_the_parts_of_bundled_tasks_are_rows_of_the_whole(name: str) -> None:
    from codesign.models import load_task

    task = load_task(name)
    evaluator = Evaluator(task)
    load = task.workload()
    network = Network(task, load, (FormatPair.parse("mxfp4"),), np.ones((len(load.layers), 1), dtype=bool))
    assignment = network.assignment(np.zeros(len(load.layers), dtype=int))
    whole = evaluator(assignment)
    given_up = evaluator(assignment, enough=-np.inf)
    assert whole.part is not None
    assert task.raw(given_up.value) == pytest.approx(task.raw(whole.part), rel=1e-3)
    assert 0 < given_up.n < whole.n


# ---- the study -------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_candidate_that_is_given_up_is_a_pruned_trial_and_no_design(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts as an evaluation, the engine learns from it, and a resumed study measures it no more."""
    file = tmp_path / "tiny.yaml"
    file.write_text(SPACE)
    asked: list[dict[str, float]] = []

    def every_second(self: Racing, engine: object, candidate: Proposal) -> dict[str, float]:
        asked.append({"tiny": -math.inf} if len(asked) % 2 else {})
        return asked[-1]

    monkeypatch.setattr(Racing, "enough", every_second)
    study = open_study(load_space(file), tmp_path / "study", seed=0)
    run_study(study, evaluations=14)
    write_results(study)
    states = [t.state for t in study.ledger.study.trials]
    assert states.count(TrialState.PRUNED) == 5
    assert states.count(TrialState.COMPLETE) == 9
    assert study.evaluations == 14
    assert len(study.measured["tiny"].choices) == 9
    assert len(study.measured["tiny"].given_up) == 5
    rows = list(csv.DictReader((tmp_path / "study" / "trials.csv").open()))
    assert [r["state"] for r in rows].count("pruned") == 5
    assert {r["area_mm2"] for r in rows if r["state"] == "pruned"} == {""}
    asked.clear()
    again = open_study(load_space(file), tmp_path / "study", seed=0, resume=True)
    run_study(again, evaluations=14)
    assert sum(e.measured for e in again.evaluators.values()) == len(again.sentinels)
    assert np.array_equal(again.front().objectives, study.front().objectives)
