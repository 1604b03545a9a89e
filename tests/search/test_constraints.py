"""What a search must keep to: tied layers, required formats, budgets, memories."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from codesign.errors import InputError
from codesign.search import load_space, open_study, run_study, search
from codesign.search.engine.allocation import lagrangian, least_within, price_range
from codesign.search.engine.combiner import Combiner
from codesign.search.engine.costs import AdditiveCosts
from codesign.search.engine.proposals import within_budgets
from codesign.search.samplers.optuna_strategy import OPTUNA_STRATEGIES
from codesign.search.space.objectives import Objective
from codesign.search.space.ties import groups, summed, tied
from tests.search import SPACE, Kept

LAYERS = ["in", "block.0.to_q", "block.0.to_k", "block.1.to_q", "block.1.to_k", "out"]
TIES = "tasks:\n  tiny:\n    task: python:tests.tiny:task\n    ties: [[to_q, to_k, to_v]]\n"


def with_ties(file: Path, ties: str = TIES) -> Path:
    text = SPACE.replace('tasks:\n  tiny: {task: "python:tests.tiny:task"}\n', ties)
    assert text != SPACE
    file.write_text(text)
    return file


# ---- ties ------------------------------------------------------------------------------------


def test_several_patterns_tie_within_each_block() -> None:
    assert tied(LAYERS, ["*.to_q", "*.to_k"]) == [(1, 2), (3, 4)]


def test_one_pattern_ties_everything_that_it_matches() -> None:
    assert tied(LAYERS, ["block.*"]) == [(1, 2, 3, 4)]


def test_names_without_stars_tie_each_other() -> None:
    assert tied(LAYERS, ["in", "out"]) == [(0, 5)]


def test_sets_that_overlap_are_one_group() -> None:
    assert groups(6, [(1, 2), (3, 4), (4, 5), (2, 0)]).tolist() == [0, 0, 0, 1, 1, 1]


def test_a_table_of_groups_sums_their_layers() -> None:
    table = np.arange(8.0).reshape(4, 2)
    table[1, 1] = np.inf
    assert summed(table, np.array([0, 1, 0, 1])).tolist() == [[4.0, 6.0], [8.0, np.inf]]


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["codesign", "nsga2", "tpe"])
def test_tied_layers_always_take_the_same_pair(space_file: Path, tmp_path: Path, sampler: str) -> None:
    space = load_space(with_ties(space_file))
    study = open_study(space, tmp_path / "study", seed=0)
    run_study(study, evaluations=12, sampler=sampler)
    layers = space.networks["tiny"].layers
    qkv = [layers.index(name) for name in ("to_q", "to_k", "to_v")]
    measured = np.array(study.measured["tiny"].choices)
    assert len(measured) > 4  # the uniform ones, and others
    assert (measured[:, qkv] == measured[:, qkv[:1]]).all()
    assert len({tuple(row) for row in measured[:, qkv]}) > 1
    free = [i for i in range(len(layers)) if i not in qkv]
    assert (measured[:, free] != measured[:, qkv[:1]]).any()


def test_a_tie_takes_part_in_the_size_and_the_hash_of_a_space(space_file: Path) -> None:
    free = load_space(space_file)
    bound = load_space(with_ties(space_file))
    assert bound.space_hash != free.space_hash
    assert bound.size() == pytest.approx(free.size() - 2 * np.log10(4))


def test_what_one_layer_may_not_take_none_of_its_tie_takes(space_file: Path) -> None:
    space = load_space(with_ties(space_file, TIES + "    layers: {to_k: [int8, mxfp4]}\n"))
    network = space.networks["tiny"]
    rows = [network.allowed[network.layers.index(name)].tolist() for name in ("to_q", "to_k", "to_v")]
    assert rows == [[True, False, False, True]] * 3


def test_a_tie_that_nothing_satisfies_is_refused(space_file: Path) -> None:
    with_ties(space_file, TIES + "    layers: {to_k: [int8], to_q: [mxfp4]}\n")
    with pytest.raises(InputError, match=r"tiny.yaml:6: ties: no pair is allowed in all of to_q, to_k, to_v"):
        load_space(space_file)


def test_a_tie_of_no_layer_is_refused_with_the_nearest_name(space_file: Path) -> None:
    with_ties(space_file, TIES.replace("to_v", "to_w"))
    with pytest.raises(InputError, match=r"tiny.yaml:6: ties: pattern 'to_w' matches no layer of tiny.*to_"):
        load_space(space_file)


def test_a_tie_of_one_layer_is_refused(space_file: Path) -> None:
    with_ties(space_file, TIES.replace("[to_q, to_k, to_v]", "[to_q]"))
    with pytest.raises(InputError, match="no two layers of tiny are tied"):
        load_space(space_file)


# ---- budgets ---------------------------------------------------------------------------------


def brute(values: dict[str, np.ndarray], limits: list[tuple[dict[str, np.ndarray], float]]) -> float:
    """Least total value over all choices of all networks within the limits."""
    tables = list(values.values())
    best = np.inf
    for choice in itertools.product(*[range(t.shape[1]) for t in tables for _ in range(len(t))]):
        parts, at = {}, 0
        for name, table in values.items():
            parts[name], at = list(choice[at : at + len(table)]), at + len(table)
        total = sum(values[n][range(len(c)), c].sum() for n, c in parts.items())
        kept = all(sum(t[range(len(parts[n])), parts[n]].sum() for n, t in costs.items()) <= m for costs, m in limits)
        best = min(best, total if kept else np.inf)
    return best


@pytest.mark.parametrize("seed", range(6))
def test_least_within_limits_agrees_with_trying_everything(seed: int) -> None:
    """Two networks with a limit of their sum and one of a single network, and a forbidden choice."""
    rng = np.random.default_rng(seed)
    values = {"a": rng.random((3, 3)), "b": rng.random((2, 3))}
    values["a"][1, 0] = np.inf
    time, size = ({n: rng.random(t.shape) for n, t in values.items()} for _ in range(2))
    limits = [(time, 2.0), ({"b": size["b"]}, 0.9)]
    found = least_within(values, limits)
    expected = brute(values, limits)
    if found is None:
        assert expected == np.inf
        return
    assert all(sum(t[range(len(t)), found[n]].sum() for n, t in costs.items()) <= m + 1e-9 for costs, m in limits)
    assert sum(t[range(len(t)), found[n]].sum() for n, t in values.items()) == pytest.approx(expected)


def test_no_choice_within_the_limits_is_none() -> None:
    table = {"a": np.ones((3, 2))}
    assert least_within(table, [(table, 2.9)]) is None


def test_a_budget_is_met_where_the_hull_has_no_vertex() -> None:
    """The best under a limit of the weights, which no Lagrange multiplier finds."""
    rng = np.random.default_rng(3)
    loss, size, limit = np.sort(rng.random((6, 3)), axis=1), np.sort(rng.random((6, 3)), axis=1)[:, ::-1], 2.4
    every = np.array(list(itertools.product(range(3), repeat=6)))
    totals = np.array([[size[range(6), c].sum(), loss[range(6), c].sum()] for c in every])
    best = every[np.where(totals[:, 0] <= limit, totals[:, 1], np.inf).argmin()]
    hull = lagrangian(loss, size, price_range(loss, size, 200))
    assert best.tolist() not in hull.tolist()
    objectives = [Objective("loss", "", "net", "quality"), Objective("size", "", "net", "size")]
    combiner = Combiner({"net": AdditiveCosts({"size": size})}, objectives, [(objectives[1], limit)], np.zeros(1, int))
    found = [
        within_budgets(combiner, {"net": loss}, {"net": np.arange(6)}, combiner.groups, np.random.default_rng(s))["net"]
        for s in range(40)
    ]
    rows = np.concatenate(found)
    assert (size[np.arange(6), rows].sum(axis=1) <= limit + 1e-9).all()
    assert best.tolist() in rows.tolist()


def test_nothing_is_solved_where_nothing_is_bounded() -> None:
    objectives = [Objective("loss", "", "net", "quality"), Objective("size", "", "net", "size")]
    combiner = Combiner({"net": AdditiveCosts({"size": np.ones((2, 2))})}, objectives, [], np.zeros(1, int))
    rng = np.random.default_rng(0)
    found = within_budgets(combiner, {"net": np.ones((2, 2))}, {"net": np.arange(2)}, combiner.groups, rng)
    assert found["net"].shape == (0, 2)


@pytest.mark.slow
def test_a_latency_budget_leaves_better_designs_than_the_uniform_ones_within_it(
    space_file: Path, tmp_path: Path
) -> None:
    free = search(space_file, tmp_path / "free", seed=0, evaluations=4)
    limit = float(np.median([d.objectives["tiny.latency_s"] for d in free.front]))
    space_file.write_text(SPACE + f"budgets: {{tiny.latency_s: {limit}}}\n")
    few = search(space_file, tmp_path / "few", seed=0, evaluations=4)
    many = search(space_file, tmp_path / "many", seed=0, evaluations=20)
    assert all(d.objectives["tiny.latency_s"] <= limit for d in many.front)
    assert many.front.reference_point == few.front.reference_point
    assert many.front.hypervolume > few.front.hypervolume


@pytest.mark.slow
def test_the_room_in_dram_bounds_the_weights(space_file: Path, tmp_path: Path) -> None:
    """A DRAM that holds the tiny network in 4 bits and not in 8."""
    open_text = SPACE.replace("  rows:", "  dram_gib: [DRAM]\n  rows:")
    space_file.write_text(open_text.replace("DRAM", "1"))
    space = load_space(space_file)
    study = open_study(space, tmp_path / "roomy", seed=0)
    layers = len(space.networks["tiny"].layers)
    table, chip = study.combiner.tables["tiny"], np.array([0])
    sizes = table.totals(["dram_capacity_bytes"], np.tile(np.arange(4)[:, None], layers), chip)["dram_capacity_bytes"]
    between = float(sizes[0, [0, 1]].mean()) / 2**30
    space_file.write_text(open_text.replace("DRAM", f"{between:.12f}"))
    study = open_study(load_space(space_file), tmp_path / "tight", seed=0)
    assert study.combiner.bounds_sums()
    member = next(int(m[0]) for s, m in zip(study.combiner.supports, study.combiner.groups, strict=True) if s[:2].all())
    ((costs, limit),) = study.combiner.bounds(member)
    loss = np.tile([0.1, 1.0, np.inf, np.inf], (layers, 1))
    found = least_within({"tiny": loss}, [(costs, limit)])
    assert found is not None
    assert set(found["tiny"]) == {0, 1}
    assert table.fits(found["tiny"][None], np.array([member])).all()


@pytest.mark.slow
def test_samplers_of_optuna_are_told_which_trials_keep_the_budget(space_file: Path, tmp_path: Path) -> None:
    free = search(space_file, tmp_path / "free", seed=0, evaluations=4)
    limit = float(np.median([d.objectives["tiny.latency_s"] for d in free.front]))
    space_file.write_text(SPACE + f"budgets: {{tiny.latency_s: {limit}}}\n")
    study = open_study(load_space(space_file), tmp_path / "study", seed=0)
    nsga2 = Kept(OPTUNA_STRATEGIES["nsga2"])
    run_study(study, evaluations=8, sampler=nsga2)
    trials = nsga2.strategy.study.trials
    assert len(trials) == 8
    for trial in trials:
        assert trial.constraints["tiny.latency_s"] == pytest.approx(trial.values[2] / limit - 1)
    assert {trial.constraints["tiny.latency_s"] <= 0 for trial in trials} == {True, False}


def test_distinct_rows_are_those_of_numpy() -> None:
    from codesign.search.engine.proposals import distinct

    rng = np.random.default_rng(0)
    for high, layers in ((2, 5), (3, 1), (300, 4)):
        rows = rng.integers(0, high, (500, layers))
        assert np.array_equal(distinct(rows), np.unique(rows, axis=0))
    assert distinct(np.zeros((0, 3), dtype=np.int64)).shape == (0, 3)
