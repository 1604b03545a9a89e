"""What the search engine promises, on a small trained network."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from codesign.designs import load_study
from codesign.designs.folder import as_json
from codesign.errors import InputError
from codesign.search import load_space, open_study, run_study, search
from codesign.search.engine.archive import Archive
from codesign.search.engine.pareto import nondominated
from codesign.search.engine.points import Pool
from codesign.search.queue.workers import Processes
from codesign.search.samplers.optuna_strategy import OPTUNA_STRATEGIES, Parameters
from codesign.search.space.axes import hardware_parameters
from tests.search import SPACE, Kept

ROOT = Path(__file__).parents[2]


def without_time(front: dict) -> dict:
    return {k: v for k, v in front.items() if k != "created"}


def test_adding_bit_by_bit_gives_the_front_of_everything_at_once(space_file: Path, tmp_path: Path) -> None:
    """Two networks, so that old and new assignments combine, under a budget of one of them."""
    text = space_file.read_text()
    text = text.replace("  tiny: {task", '  two: {task: "python:tests.tiny:task"}\n  tiny: {task')
    space_file.write_text(text + "budgets: {two.weight_bytes: 3500}\n")
    study = open_study(load_space(space_file), tmp_path / "study", seed=0)
    rng = np.random.default_rng(7)
    layers = len(study.space.networks["tiny"].layers)
    pools = {n: Pool(rng.integers(0, 4, (40, layers)), rng.random(40)) for n in study.space.networks}
    whole = study.combiner.front(pools)
    archive = Archive(study.combiner)
    for start in range(0, 40, 8):
        archive.add({n: Pool(p.choices[start : start + 8], p.quality[start : start + 8]) for n, p in pools.items()})
    assert len(whole) > 10
    assert {tuple(v) for v in archive.front.objectives} == {tuple(v) for v in whole.objectives}
    brute = study.combiner.values(
        archive.front.accelerator,
        {n: Pool(p.choices[archive.front.index[n]], p.quality[archive.front.index[n]]) for n, p in pools.items()},
    )
    assert np.allclose(brute, archive.front.objectives)


# ---- the whole study ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.yaml").write_text(SPACE)
    search(folder / "tiny.yaml", folder / "study", seed=0)
    return folder


@pytest.mark.slow
def test_same_seed_same_front(finished: Path, space_file: Path, tmp_path: Path) -> None:
    again = search(space_file, tmp_path / "again", seed=0)
    first = json.loads((finished / "study" / "front.json").read_text())
    assert without_time(json.loads(as_json(again.front))) == without_time(first)


def test_the_search_is_a_function_of_the_package_also_after_its_parts_were_imported() -> None:
    import codesign

    assert codesign.search is search
    assert isinstance(search, types.FunctionType)
    assert codesign.get_format("mxfp4").bits_per_element == 4.25


def test_front_is_mutually_nondominated(finished: Path) -> None:
    front = json.loads((finished / "study" / "front.json").read_text())
    points = np.array([list(d["objectives"].values()) for d in front["designs"]])
    assert len(points) >= 4
    assert nondominated(points).all()


def test_every_reported_design_was_measured(finished: Path) -> None:
    """Its quality stands in the trials, and its cost is the model's for just this design."""
    from codesign.formats import Assignment
    from codesign.hardware import Accelerator, cost
    from codesign.models import load_task

    front = json.loads((finished / "study" / "front.json").read_text())
    trials = (finished / "study" / "trials.csv").read_text()
    workload = load_task("python:tests.tiny:task", name="tiny").workload()
    for design in front["designs"]:
        assignment = Assignment.from_dict(design["assignments"]["tiny"])
        assert assignment.digest() in trials
        again = cost(workload, Accelerator.from_dict(design["accelerator"]), assignment)
        assert design["objectives"]["area_mm2"] == pytest.approx(again.area_mm2)
        assert design["objectives"]["tiny.latency_s"] == pytest.approx(again.latency_s)
        pairs = {str(p) for p in Accelerator.from_dict(design["accelerator"]).pairs}
        assert {layer.pair for layer in again.layers} <= pairs


def test_uniform_formats_stand_at_equal_size_on_the_balanced_chip(finished: Path) -> None:
    study = load_study(finished / "study")
    baselines = {baseline.label.removeprefix("uniform "): baseline for baseline in study.record.baselines}
    assert {each.pair for each in study.record.equal_size} >= set(baselines)
    for each in study.record.equal_size:
        assert 0 < each.array_mm2 < each.area_mm2
        assert each.area_low_mm2 < each.area_mm2 < each.area_high_mm2
        assert {n: q.value for n, q in each.quality.items()} == {
            n: q.value for n, q in baselines[each.pair].quality.items()
        }
        if each.pairs == study.chosen.accelerator.pairs:
            assert each.area_mm2 == study.chosen.cost.area_mm2


def test_study_is_an_optuna_study_with_one_trial_per_candidate(finished: Path) -> None:
    front = json.loads((finished / "study" / "front.json").read_text())
    study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{finished / 'study' / 'study.db'}")
    complete = [t for t in study.trials if t.state == optuna.trial.TrialState.COMPLETE]
    assert len(complete) == front["evaluations"]
    assert study.metric_names == ["tiny.quality", "area_mm2", "tiny.latency_s"]


def test_resume_measures_nothing_twice(finished: Path, space_file: Path) -> None:
    space = load_space(space_file)
    study = open_study(space, finished / "study", seed=0, resume=True)
    run_study(study, evaluations=14)
    assert sum(e.measured for e in study.evaluators.values()) == len(study.sentinels) == 3


def test_study_of_another_space_is_refused(finished: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(SPACE.replace("rows: [2, 4]", "rows: [2, 8]"))
    with pytest.raises(InputError, match=r"another space .hardware.rows: "):
        open_study(load_space(other), finished / "study", seed=0)


def test_resume_without_a_study_is_refused(space_file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no study to resume"):
        open_study(load_space(space_file), tmp_path / "empty", resume=True)


@pytest.mark.slow
def test_budget_is_kept(finished: Path, space_file: Path, tmp_path: Path) -> None:
    free = json.loads((finished / "study" / "front.json").read_text())
    areas = sorted(design["objectives"]["area_mm2"] for design in free["designs"])
    limit = (areas[0] + areas[-1]) / 2
    space_file.write_text(SPACE + f"budgets: {{area_mm2: {limit}}}\n")
    kept = search(space_file, tmp_path / "kept", seed=0, evaluations=8)
    assert len(kept.front)
    assert all(d.objectives["area_mm2"] <= limit for d in kept.front)


@pytest.mark.slow
def test_accelerators_whose_sram_holds_no_tile_are_never_reported(space_file: Path, tmp_path: Path) -> None:
    """They are the smallest of all, also where no objective is infinite for them."""
    text = space_file.read_text().replace("tiny.latency_s]", "tiny.dram_capacity_bytes]")
    space_file.write_text(text)
    without = search(space_file, tmp_path / "without", seed=0, evaluations=4)
    space_file.write_text(text.replace("[4, 16]", "[0.25, 4, 16]"))
    found = search(space_file, tmp_path / "with", seed=0, evaluations=4)
    assert [d.objectives for d in found.front] == [d.objectives for d in without.front]


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["random", "nsga2", "tpe"])
def test_optuna_samplers_run_on_the_same_space(space_file: Path, tmp_path: Path, sampler: str) -> None:
    study = open_study(load_space(space_file), tmp_path / "study", seed=0)
    run_study(study, evaluations=6, sampler=sampler)
    assert study.evaluations == 6
    trials = study.ledger.study.trials
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 6
    assert len(study.front()) > 0
    again = open_study(load_space(space_file), tmp_path / "study", seed=0, resume=True)
    run_study(again, evaluations=7, sampler=sampler)
    assert np.array_equal(again.reference, study.reference)
    assert len(again.ledger.study.trials) == 7


def test_uniform_designs_are_parents_of_the_first_generation(space_file: Path, tmp_path: Path) -> None:
    study = open_study(load_space(space_file), tmp_path / "study", seed=0)
    nsga2 = Kept(OPTUNA_STRATEGIES["nsga2"])
    run_study(study, evaluations=6, sampler=nsga2)
    trials = nsga2.strategy.study.trials
    assert [t.system_attrs["NSGAIISampler:generation"] for t in trials] == [0] * 6
    formats = [{t.params[name] for name in t.params if name.startswith("tiny/")} for t in trials]
    assert formats[:4] == [{"int8:int8"}, {"int4:int8+gptq"}, {"fp8_e4m3:fp8_e4m3"}, {"mxfp4:mxfp4+gptq"}]


def test_a_trial_names_the_accelerator_that_it_was_made_for(space_file: Path, tmp_path: Path) -> None:
    """Back and forth for every accelerator of a grid with two values on each axis."""
    more = "  vector_lanes: [0, 24]\n  flash: ['', ufs4.0]\n  codec: [huffman, '']\n  clock_mhz: [800, 1000]\n  rows:"
    text = SPACE.replace("  rows:", more).replace('    subsets_of: [[int8, "int4:int8", mxfp4]]\n', "")
    space_file.write_text(text.replace("[[int8], [fp8_e4m3], [mxfp4]]", '[[int8, "int4:int8"], [fp8_e4m3, mxfp4]]'))
    space = load_space(space_file)
    assert len(space.grid) == 2**8
    axes = open_study(space, tmp_path / "study").ledger.distributions
    parameters = Parameters(space)
    for index, accelerator in enumerate(space.grid):
        named = hardware_parameters(space, index)
        trial = optuna.trial.create_trial(params=named, distributions=axes, value=0)
        assert parameters.accelerator(trial) == index
        assert float(named["clock_hz"]) == accelerator.clock_hz
        assert int(named["vector_lanes"]) in (0, accelerator.vector_lanes)
        assert (named["flash"], named["codec"]) == (accelerator.flash, accelerator.codec)
    assert {a.vector_lanes for a in space.grid} == {8, 16, 24}


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "elsewhere"), [pytest.param(3, 0, marks=pytest.mark.long), (0, 1)])
def test_worker_processes_find_the_same_front(
    workers: int, elsewhere: int, finished: Path, space_file: Path, tmp_path: Path
) -> None:
    study = open_study(load_space(space_file), tmp_path / "many", seed=0, workers=workers)
    others: list[Processes] = []

    def join(stage: str, *_: object) -> None:
        if stage == "evaluations" and not others:
            others.append(Processes(elsewhere, study.storage or "", "tiny", tmp_path / "elsewhere"))

    run_study(study, evaluations=14, progress=join)
    others[0].stop()
    one = open_study(load_space(space_file), finished / "study", seed=0, resume=True)
    run_study(one, evaluations=14)
    assert np.array_equal(study.front().objectives, one.front().objectives)


# The metric is tried and seven assignments are measured; in the next evaluation the process dies.
KILLED = """
import os, signal, sys
from codesign.cli import main
from codesign.quality import Evaluator

measure, calls = Evaluator.__call__, iter(range(8))


def mortal(self, assignment, **options):
    if next(calls, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
    return measure(self, assignment, **options)


Evaluator.__call__ = mortal
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_killed_search_resumes_to_the_same_front(finished: Path, space_file: Path, tmp_path: Path) -> None:
    """kill -9 in the middle: no finished evaluation is lost or repeated, and the front is as without."""
    out = tmp_path / "killed"
    arguments = ["search", str(space_file), "--out", str(out), "--seed", "0"]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], cwd=ROOT, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = open_study(load_space(space_file), out, seed=0, resume=True).ledger.records()
    assert 4 <= len(before) <= 7  # the uniform ones at least; at most what was measured
    subprocess.run([sys.executable, "-m", "codesign", *arguments, "--resume"], cwd=ROOT, check=True)
    after = open_study(load_space(space_file), out, seed=0, resume=True).ledger.records()
    assert [r.key for r in after][: len(before)] == [r.key for r in before]
    assert len({r.key for r in after}) == len(after)
    first = json.loads((finished / "study" / "front.json").read_text())
    assert without_time(json.loads((out / "front.json").read_text())) == without_time(first)


# ---- accumulators ----------------------------------------------------------------------------


def changed(space_file: Path, **keys: str) -> Path:
    """The space with other accumulators, another threshold and fewer evaluations."""
    text = space_file.read_text().replace("evaluations: 14", "evaluations: 4")
    if "accumulator" in keys:
        text = text.replace("  rows:", f"  accumulator: {keys['accumulator']}\n  rows:")
    if "threshold" in keys:
        text += f"accumulator_sqnr_db: {keys['threshold']}\n"
    space_file.write_text(text)
    return space_file


def test_every_reported_design_says_what_its_accumulator_loses(finished: Path) -> None:
    front = json.loads((finished / "study" / "front.json").read_text())
    for design in front["designs"]:
        worst = design["accumulator"]["tiny"]
        assert worst["layer"] in design["assignments"]["tiny"]
        if {f["activation"] for f in design["assignments"]["tiny"].values()} == {"int8"}:
            assert worst == {"layer": "conv", "accumulator": "int32"}  # every sum is exact
        else:
            assert worst.get("sqnr_db", np.inf) > 100


def test_an_accumulator_that_a_layer_can_overflow_is_refused_with_its_line(space_file: Path) -> None:
    text = changed(space_file, accumulator="[auto, int19]").read_text()
    text = text.replace("[[int8], [fp8_e4m3], [mxfp4]]", "[[int8]]").replace(
        '"int4:int8", fp8_e4m3, mxfp4]', '"int4:int8"]'
    )
    space_file.write_text(text.replace("mxfp4]]", "int8]]"))
    line = text.splitlines().index("  accumulator: [auto, int19]") + 1
    with pytest.raises(InputError, match=rf"tiny.yaml:{line}: hardware.accumulator: .*'int19'.*K = \d+.*take int\d+"):
        load_space(space_file)


def test_an_accumulator_that_cannot_hold_a_pair_is_refused_with_its_line(space_file: Path) -> None:
    line = changed(space_file, accumulator="[int24]").read_text().splitlines().index("  accumulator: [int24]") + 1
    with pytest.raises(InputError, match=rf"tiny.yaml:{line}: hardware.accumulator: .*floating-point products"):
        load_space(space_file)


def test_an_unknown_accumulator_offers_the_nearest(space_file: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'aligned25'"):
        load_space(changed(space_file, accumulator="[alinged25]"))


@pytest.mark.slow
def test_designs_below_the_threshold_leave_the_front_to_those_they_dominated(space_file: Path, tmp_path: Path) -> None:
    """Of the half-precision accumulators nothing is left: the front is that of a space without them."""
    original = space_file.read_text()
    both = search(changed(space_file, accumulator="[fp16, auto]", threshold="100"), tmp_path / "both", seed=0)
    assert both.record.accumulators.designs_refused > 0
    space_file.write_text(original)
    alone = search(changed(space_file, threshold="100"), tmp_path / "auto", seed=0)
    assert {d.accelerator.accumulator for d in both.front} == {"auto"}
    assert [d.objectives for d in both.front] == [d.objectives for d in alone.front]


def test_a_threshold_that_nothing_keeps_is_said_to_be_one(space_file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"less than 300 dB.*lower accumulator_sqnr_db"):
        search(changed(space_file, accumulator="[fp16]", threshold="300"), tmp_path / "study", seed=0)
