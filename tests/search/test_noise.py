"""Designs that differ by noise are not reported beside each other."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from codesign.formats import Assignment, FormatPair
from codesign.models.custom import CustomTask
from codesign.models.task import Samples
from codesign.quality import Evaluator, Quality
from codesign.quality.measure import measure
from codesign.search import load_space, open_study, run_study, write_results
from codesign.search.engine.points import Designs
from codesign.search.space.objectives import Objective
from codesign.search.study.noise import told_apart
from tests.search import SPACE

OBJECTIVES = [Objective("net.quality", "", "net", "quality"), Objective("area_mm2", "mm2", None, "area_mm2")]


def designs(*points: tuple[float, float]) -> Designs:
    number = np.arange(len(points))
    return Designs(number, {"net": number}, np.array(points))


def resamples(front: Designs, common: float, own: float, seed: int = 0) -> list[np.ndarray]:
    """Qualities on resamples: noise that all designs share, and some of each one's own."""
    rng = np.random.default_rng(seed)
    shared, each = rng.standard_normal(32), rng.standard_normal((len(front), 32))
    return [front.objectives[:, :1] + common * shared + own * each]


def kept(front: Designs, spreads: list[np.ndarray]) -> list[int]:
    return np.flatnonzero(told_apart(front, OBJECTIVES, spreads)).tolist()


def test_a_dearer_design_that_is_better_by_noise_alone_is_left_out() -> None:
    front = designs((1.0, 10.0), (0.99, 20.0), (0.5, 30.0))
    assert kept(front, resamples(front, common=0.0, own=0.05)) == [0, 2]


def test_noise_that_both_share_does_not_count() -> None:
    """The networks were measured on the same samples: hard ones are hard for both."""
    front = designs((1.0, 10.0), (0.9, 20.0))
    assert kept(front, resamples(front, common=0.5, own=0.01)) == [0, 1]
    assert kept(front, resamples(front, common=0.0, own=0.5)) == [0]


def test_of_a_chain_those_stay_that_are_better_than_what_was_kept() -> None:
    """Each is as good as the next, the last better than the first."""
    front = designs(*[(1.0 - 0.03 * i, 10.0 + i) for i in range(8)])
    found = kept(front, resamples(front, common=0.0, own=0.02))
    assert found[0] == 0
    assert 1 < len(found) < 8


def test_what_costs_more_in_one_thing_and_less_in_another_is_never_left_out() -> None:
    objectives = [*OBJECTIVES, Objective("latency_s", "s", None, "latency_s")]
    front = Designs(np.arange(2), {"net": np.arange(2)}, np.array([[1.0, 10.0, 2.0], [1.0, 20.0, 1.0]]))
    assert told_apart(front, objectives, resamples(front, common=0.0, own=1.0)).all()


def test_without_resamples_every_difference_counts() -> None:
    front = designs((1.0, 10.0), (0.999, 20.0))
    assert kept(front, [np.zeros((2, 0))]) == [0, 1]


@pytest.mark.parametrize("draws", [0, 1])
def test_without_resamples_what_is_as_good_and_dearer_is_left_out(draws: int) -> None:
    """One resample has no spread."""
    assert kept(designs((1.0, 10.0), (1.0, 20.0)), [np.zeros((2, draws))]) == [0]


@pytest.mark.parametrize(("better_by", "found"), [(2.77, [0]), (2.78, [0, 1])])
def test_noise_is_1_96_standard_deviations_of_the_difference(better_by: float, found: list[int]) -> None:
    """The differences 1 and -1 have the standard deviation sqrt(2), by n - 1."""
    front = designs((3.0, 10.0), (3.0 - better_by, 20.0))
    assert kept(front, [np.array([[5.0, 5.0], [4.0, 6.0]])]) == found


def test_without_qualities_nothing_is_noise() -> None:
    front = Designs(np.arange(2), {}, np.array([[1.0, 10.0], [2.0, 9.0]]))
    objectives = [Objective("latency_s", "s", None, "latency_s"), OBJECTIVES[1]]
    assert told_apart(front, objectives, []).all()


def test_kept_resamples_are_the_same_samples_of_every_network() -> None:
    """So their differences are paired: those of a network that is worse by one everywhere are all one."""
    rows = np.random.default_rng(1).random(40)
    first, second = (
        measure(Samples("loss", "", "minimize", values, lambda r: float(r.mean())), draws=32)
        for values in (rows, rows + 1.0)
    )
    assert len(first.draws) == 32
    assert np.subtract(second.draws, first.draws) == pytest.approx(1.0, abs=1e-5)
    assert Quality.from_dict(json.loads(json.dumps(second.to_dict()))) == second


def test_a_deciding_metric_keeps_its_resamples(tiny: CustomTask) -> None:
    evaluator = Evaluator(tiny)
    kinds = tiny.workload().layer_kinds()
    assignment = Assignment.of_pairs(dict.fromkeys(kinds, FormatPair.parse("int4:int8")), kinds)
    quality = evaluator(assignment)
    assert len(quality.draws) == 32
    assert quality.low <= np.mean(quality.draws) <= quality.high
    assert [metric.draws for metric in evaluator.metrics(assignment)] == [()]  # its only metric, for a report


@pytest.mark.slow
def test_reported_designs_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(SPACE)
    study = open_study(load_space(tmp_path / "tiny.yaml"), tmp_path / "study", seed=0)
    run_study(study, evaluations=30)
    written = write_results(study)
    assert written.record.told_apart is not None
    assert 0 < written.record.told_apart < written.front.front_size
    draws = {
        study.space.networks["tiny"].assignment(choice).digest(): quality.draws
        for choice, quality in zip(study.measured["tiny"].choices, study.measured["tiny"].qualities, strict=True)
    }
    costs = ("area_mm2", "tiny.latency_s")
    pairs = list(itertools.permutations(written.front, 2))
    cheaper = [(a, b) for a, b in pairs if all(a.objectives[cost] <= b.objectives[cost] for cost in costs)]
    assert len(cheaper) > 3
    for a, b in cheaper:
        noise = np.subtract(*(draws[d.assignments["tiny"].digest()] for d in (a, b))).std(ddof=1)
        assert a.objectives["tiny.quality"] - b.objectives["tiny.quality"] > 1.9599 * noise
