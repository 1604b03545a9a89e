"""What proposes candidates is one small interface: a strategy from outside the package searches like our own."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from codesign.cli import main
from codesign.errors import InputError
from codesign.search import Problem, Result, load_space, open_study, run_study, search
from codesign.search.engine.engine import Proposal
from codesign.search.samplers.registry import strategy_factory
from tests.packages import install_package
from tests.search import Kept

MODULE = """
from tests.search.test_strategy import LastLayers


def strategy(problem):
    return LastLayers(problem)
"""


class LastLayers:
    """Takes the second pair in the last layer, in the last two, and so on; nobody needs to know more."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.told: list[Result] = []
        self.asked = 0

    def tell(self, results: Sequence[Result]) -> None:
        self.told += results

    def propose(self, size: int, pending: Sequence[Proposal]) -> list[Proposal]:
        network, found = self.problem.space.networks["tiny"], []
        chip = next(i for i, unit in enumerate(self.problem.space.grid.unit) if self._runs(int(unit)))
        while len(found) < size and self.asked < len(network.layers) - 1:
            self.asked += 1
            choice = np.zeros(len(network.layers), dtype=int)
            choice[-self.asked :] = 1
            found.append(Proposal(chip, {"tiny": choice}))
        return found

    def front(self) -> None:
        return None

    def _runs(self, unit: int) -> bool:
        return {pair.datapath for pair in self.problem.space.pairs[:2]} <= set(
            self.problem.space.grid.units[unit].pairs
        )


def test_a_strategy_of_a_user_is_asked_until_it_has_nothing_more(space_file: Path, tmp_path: Path) -> None:
    strategy = Kept(LastLayers)
    study = open_study(load_space(space_file), tmp_path / "study", seed=0)
    layers = len(study.space.networks["tiny"].layers)
    run_study(study, evaluations=50, sampler=strategy)
    assert study.evaluations == 4 + layers - 1
    told = strategy.strategy.told
    assert [int((r.proposal.choices["tiny"] == 1).sum()) for r in told[4:]] == list(range(1, layers))
    assert all(len(r.values) == 3 and r.values[0] == r.quality["tiny"].value for r in told)


@pytest.mark.slow
def test_what_a_strategy_measured_is_not_measured_again(space_file: Path, tmp_path: Path) -> None:
    search(space_file, tmp_path / "study", sampler=LastLayers, evaluations=5)
    study = open_study(load_space(space_file), tmp_path / "study", resume=True)
    before = len(study.ledger.records())
    run_study(study, evaluations=6, sampler=LastLayers)
    assert (before, len(study.ledger.records())) == (5, 6)


@pytest.mark.slow
def test_a_strategy_is_named_on_the_command_line_and_each_trial_says_it(space_file: Path, tmp_path: Path) -> None:
    (tmp_path / "beside_the_space.py").write_text(MODULE)
    path, out = list(sys.path), tmp_path / "study"
    asked = ["search", str(space_file), "--out", str(out), "--evaluations", "6"]
    assert main([*asked, "--sampler", "python:beside_the_space:strategy"]) == 0
    rows = list(csv.DictReader((out / "trials.csv").open()))
    assert [row["proposed_by"] for row in rows[4:]] == ["python:beside_the_space:strategy"] * 2
    assert sys.path == path


def test_an_installed_package_adds_a_strategy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_package(tmp_path, "proposing", MODULE, "[codesign.strategies]\nlast_layers = proposing:strategy\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert strategy_factory("last_layers").__name__ == "strategy"
    with pytest.raises(InputError, match="unknown sampler 'last_layer'; did you mean 'last_layers'"):
        strategy_factory("last_layer")


def test_an_unknown_sampler_is_one_line(space_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", str(space_file), "--out", str(tmp_path / "study"), "--sampler", "nsga"]) == 2
    assert "unknown sampler 'nsga'; did you mean 'nsga" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.slow
def test_a_sampler_of_optunas_proposes_for_several_workers_at_once(space_file: Path, tmp_path: Path) -> None:
    study = open_study(load_space(space_file), tmp_path / "study", seed=0, workers=2)
    run_study(study, evaluations=9, sampler="random")
    assert [r.proposed_by for r in study.ledger.records()].count("random") == 5


def test_a_strategy_that_stops_early_is_not_taken_for_a_space_of_which_all_was_tried(
    space_file: Path, tmp_path: Path
) -> None:
    study = open_study(load_space(space_file), tmp_path / "study", seed=0)
    run_study(study, evaluations=500, sampler=LastLayers)
    assert study.ended.startswith("the sampler proposes no further candidate")
