"""The parts of the engine: Lagrangian hull, non-dominated sets, hypervolume, coverage, surrogate."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from codesign.search.engine.allocation import lagrangian, price_range
from codesign.search.engine.pareto import Coverage, hypervolume, nondominated
from codesign.search.engine.surrogate import Surrogate

ROOT = Path(__file__).parents[2]


def test_lagrangian_finds_every_vertex_of_the_hull() -> None:
    """Against brute force over all assignments of a small problem."""
    rng = np.random.default_rng(0)
    loss, cost = rng.random((4, 3)), rng.random((4, 3))
    every = np.array(list(itertools.product(range(3), repeat=4)))
    totals = np.array([[cost[range(4), c].sum(), loss[range(4), c].sum()] for c in every])
    for price in np.geomspace(0.01, 100, 30):
        pick = lagrangian(loss, cost, np.array([price]))[0]
        got = loss[range(4), pick].sum() + price * cost[range(4), pick].sum()
        assert got == pytest.approx((totals[:, 1] + price * totals[:, 0]).min())


def test_prices_reach_from_loss_only_to_cost_only() -> None:
    rng = np.random.default_rng(1)
    loss = np.sort(rng.random((6, 4)), axis=1)
    cost = np.sort(rng.random((6, 4)), axis=1)[:, ::-1]
    picks = lagrangian(loss, cost, price_range(loss, cost, 40))
    assert (picks[0] == 0).all()
    assert (picks[-1] == 3).sum() >= 5


def test_forbidden_choices_are_never_taken() -> None:
    loss = np.array([[0.1, np.inf, 0.3]] * 3)
    cost = np.array([[3.0, 0.0, 1.0]] * 3)
    picks = lagrangian(loss, cost, price_range(loss, cost, 20))
    assert not (picks == 1).any()


# ---- domination -------------------------------------------------------------------------------


def test_nondominated_agrees_with_the_definition() -> None:
    points = np.random.default_rng(2).integers(0, 6, (60, 3)).astype(float)
    keep = nondominated(points)
    for i, p in enumerate(points):
        beaten = ((points <= p).all(axis=1) & (points < p).any(axis=1)).any()
        earlier_equal = (points[:i] == p).all(axis=1).any()
        assert keep[i] == (not beaten and not earlier_equal)


def test_nondominated_of_more_columns_than_the_library_compares() -> None:
    """Quality and cost of an assignment on each of many accelerators, infinite where it does not fit."""
    rng = np.random.default_rng(3)
    few = rng.integers(0, 4, (40, 3)).astype(float)
    few[rng.random(few.shape) < 0.2] = np.inf
    wide = np.repeat(few, 100, axis=1)
    assert np.array_equal(nondominated(wide), nondominated(few))


def test_hypervolume_of_a_box() -> None:
    assert hypervolume(np.array([[1.0, 2.0], [9.0, 9.0]]), np.array([4.0, 4.0])) == pytest.approx(6.0)


def test_coverage_takes_the_point_with_most_new_volume_first() -> None:
    coverage = Coverage(np.zeros(2), np.ones(2), seed=0)
    coverage.add(np.array([[0.5, 0.5]]))
    candidates = np.array([[0.6, 0.6], [0.1, 0.4], [0.45, 0.2]])
    assert coverage.choose(candidates, 3) == [1, 2]


def test_coverage_counts_points_that_come_together_as_one() -> None:
    """Two points of one group cover more than the single best point."""
    coverage = Coverage(np.zeros(2), np.ones(2), seed=0)
    candidates = np.array([[0.2, 0.8], [0.8, 0.2], [0.6, 0.6]])
    assert coverage.choose(candidates, 1, np.array([7, 7, 3])) == [7]


def test_coverage_weighs_scenarios() -> None:
    """A sure gain before one that is there in one of six cases."""
    sure, unsure = [0.7, 0.7], [0.99, 0.99]
    scenarios = np.array([[sure, unsure], [sure, [0.4, 0.4]]])
    coverage = Coverage(np.zeros(2), np.ones(2), seed=0)
    assert coverage.choose(scenarios, 2, None, np.array([5, 1])) == [0, 1]


def test_coverage_agrees_with_the_exact_volume() -> None:
    points = np.random.default_rng(4).random((6, 3))
    coverage = Coverage(np.zeros(3), np.ones(3), seed=0)
    coverage.add(points)
    free = int(np.bitwise_count(coverage._free).sum()) / (len(coverage._free) * 64)
    assert 1 - free == pytest.approx(hypervolume(points, np.ones(3)), abs=0.02)


# ---- surrogate --------------------------------------------------------------------------------


def test_surrogate_learns_a_wrong_sensitivity() -> None:
    """One format is four times worse than its sensitivities say: measuring some assignments must reveal it."""
    rng = np.random.default_rng(3)
    table = rng.random((12, 3)) * [0.1, 1, 3] + 0.01
    truth = table * [1, 1, 4]
    choices = rng.integers(0, 3, (40, 12))
    losses = truth[np.arange(12), choices].sum(axis=1)
    unseen = rng.integers(0, 3, (200, 12))
    expected = truth[np.arange(12), unseen].sum(axis=1)

    def error(s: Surrogate) -> float:
        ratio = np.log(s.predict(unseen) / expected)
        return float(np.std(ratio))

    assert error(Surrogate(table).fitted(choices, losses)) < 0.5 * error(Surrogate(table))


def test_interactions_are_learned_and_their_spread_is_honest() -> None:
    """A pair of layers that hurts only together: no sum sees it, and the z-scores of predictions are about normal."""
    rng = np.random.default_rng(5)
    table = rng.random((8, 3)) * [0.1, 0.3, 1.0] + 0.05

    def truth(choices: np.ndarray) -> np.ndarray:
        together = (choices[:, 2] == 2) & (choices[:, 5] == 2)
        return table[np.arange(8), choices].sum(axis=1) * np.where(together, 2.0, 1.0)

    choices, unseen = rng.integers(0, 3, (200, 8)), rng.integers(0, 3, (300, 8))
    fitted = Surrogate(table).fitted(choices, truth(choices))
    mean, spread = fitted.log_loss(unseen)
    error = np.log(truth(unseen)) - mean
    assert np.std(error) < 0.8 * np.std(np.log(truth(unseen)) - fitted.additive(unseen))
    assert 0.6 < np.sqrt(np.mean(np.square(error / spread))) < 1.6


def test_a_measured_point_is_known_better_than_a_far_one() -> None:
    rng = np.random.default_rng(6)
    table = rng.random((10, 3)) + 0.1
    choices = rng.integers(0, 2, (30, 10))
    noisy = table[np.arange(10), choices].sum(axis=1) * np.exp(0.3 * rng.standard_normal(30))
    fitted = Surrogate(table).fitted(choices, noisy)
    assert fitted.log_loss(choices)[1].mean() <= fitted.log_loss(np.full((1, 10), 2))[1][0]


# ---- archive ---------------------------------------------------------------------------------
