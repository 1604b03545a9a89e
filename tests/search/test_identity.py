"""What is measured and what is priced each have an identity; a change counts for what it decides, and for no more."""

from __future__ import annotations

import csv
import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import codesign
import codesign.sources
from codesign.cli import main
from codesign.errors import InputError
from codesign.hardware.chip import area
from codesign.quality import cache
from codesign.quality.cache import deciding_sources
from codesign.search import load_space, open_study, run_study, write_results
from codesign.search.queue import worker
from codesign.search.queue.storage import open_storage
from codesign.search.queue.worker import join_study
from codesign.search.space import loading, prices
from codesign.search.space.prices import pricing_sources
from codesign.search.study import replay
from codesign.search.study.study import OpenStudy
from codesign.sources import digest, meaning
from tests.search import SPACE

ROOT = Path(codesign.__file__).parent
LOADED = """
import sys
from pathlib import Path
from codesign.search.space.resolve import load_space
from codesign.quality import Evaluator
from codesign.search.engine.combiner import Combiner
from codesign.hardware import cost, cost_tables

space = load_space(Path(sys.argv[1]))
network = space.networks["tiny"]
assignment = network.assignment(network.uniform(space.pairs[0]))
if sys.argv[2] == "measured":
    Evaluator(network.task)(assignment)
else:
    cost_tables(network.workload, space.grid, space.pairs)
    cost(network.workload, space.grid[0], assignment)
for module in list(sys.modules.values()):
    if module.__name__.startswith("codesign.") and module.__file__:
        print(module.__file__)
"""
# loaded, but no part of a price: lazy namespaces, what reads and writes files, the sums of a unit bit by bit, and the
# rules of deployment targets
_NO_PRICES = (
    *("__init__.py", "chip/files.py", "chip/memory_files.py", "verify/twin.py", "verify/deviation.py"),
    "workload/roles.py",
)


def loaded(space_file: Path, what: str) -> set[str]:
    """The modules of the package that are loaded once something was measured or priced."""
    command = [sys.executable, "-c", LOADED, str(space_file), what]
    found = subprocess.run(command, cwd=ROOT.parent, capture_output=True, text=True, check=True).stdout.split()
    return {Path(file).relative_to(ROOT).as_posix() for file in found}


read_once = functools.cache(meaning)  # thousands of times the same text otherwise


def names(files: list[Path]) -> set[str]:
    return {file.relative_to(ROOT).as_posix() for file in files}


@pytest.mark.slow
def test_all_that_measures_is_in_the_code_version(space_file: Path) -> None:
    found = {f for f in loaded(space_file, "measured") if f.startswith(("formats/", "quality/", "workload/"))}
    # of the cost of what is no matrix product, and of the rules of deployment targets
    harmless = ("workload/liveness.py", "workload/vector.py", "workload/roles.py")
    assert {f for f in found if not f.endswith("__init__.py")} - names(deciding_sources(ROOT)) <= set(harmless)


@pytest.mark.slow
def test_all_that_prices_is_in_the_cost_version(space_file: Path) -> None:
    packages = ("formats/", "workload/", "hardware/")
    found = {f for f in loaded(space_file, "priced") if f.startswith(packages) and not f.endswith(_NO_PRICES)}
    assert found - names(pricing_sources(ROOT)) == set()


CHANGES = [
    ("hardware/chip/area.py", "# another comment\n", (False, False)),
    ("quality/ranges.py", '"""Another docstring."""\n', (False, False)),
    ("search/engine/engine.py", "x = 1\n", (False, False)),
    ("report/text.py", "x = 1\n", (False, False)),
    ("models/restore/train.py", "x = 1\n", (False, False)),
    ("hardware/calibration/calibrate.py", "x = 1\n", (False, False)),
    ("hardware/chip/area.py", "x = 1\n", (False, True)),
    ("hardware/data/memory.yaml", "more: 1\n", (False, True)),
    ("search/space/cost_metrics.py", "x = 1\n", (False, True)),
    ("quality/measure.py", "x = 1\n", (True, False)),
    ("models/custom.py", "x = 1\n", (True, False)),
    ("formats/rounding.py", "x = 1\n", (True, True)),
]


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("copied") / "codesign"
    return Path(shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors", "template")))


@pytest.mark.parametrize(("file", "more", "differs"), CHANGES)
def test_a_change_is_of_what_it_decides(
    copied: Path, monkeypatch: pytest.MonkeyPatch, file: str, more: str, differs: tuple[bool, bool]
) -> None:
    monkeypatch.setattr(codesign.sources, "meaning", read_once)

    def versions() -> list[str]:
        return [digest(sources(copied), copied) for sources in (deciding_sources, pricing_sources)]

    before, text = versions(), (copied / file).read_text()
    (copied / file).write_text(text + more)
    found = tuple(old != new for old, new in zip(before, versions(), strict=True))
    (copied / file).write_text(text)
    assert found == differs


def test_the_meaning_of_source_is_what_python_does_with_it() -> None:
    written = '"""What."""\ndef f(x):\n    """Doc."""\n    return x + 1  # more\n\n\nA = None\n"""Of A."""\n'
    assert meaning(written) == meaning("def f( x ):\n  return (x+1)\nA = None")
    others = [
        "def f(x):\n  return x + 2\nA = None",
        "def f(x):\n  return x + 1\nA = 0",
        "def f(y):\n  return y + 1\nA=None",
    ]
    assert len({meaning(text) for text in [written, *others]}) == 4


# ---- prices ---------------------------------------------------------------------------------------


def opened(folder: Path) -> OpenStudy:
    return open_study(load_space(folder / "tiny.yaml"), folder / "study", seed=0)


def trials(folder: Path) -> dict[str, dict[str, str]]:
    rows = csv.DictReader((folder / "study" / "trials.csv").open())
    return {" ".join(row[k] for k in ("tiny.assignment", "unit", "rows", "columns", "sram_bytes")): row for row in rows}


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("once")
    (folder / "tiny.yaml").write_text(SPACE)
    study = opened(folder)
    write_results(run_study(study, evaluations=10))
    return folder


@pytest.fixture
def known(once: Path, tmp_path: Path) -> Path:
    shutil.copytree(once, tmp_path / "known")
    return tmp_path / "known"


def change_the_area(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an upgrade does: another formula, and so another version of the cost model."""
    before = area.sram_mm2
    monkeypatch.setattr(area, "sram_mm2", lambda *of: 3 * before(*of))
    for module in (prices, replay):
        monkeypatch.setattr(module, "cost_version", lambda: "another")


@pytest.mark.slow
def test_prices_are_todays_after_a_change_of_the_cost_model_and_what_was_measured_stays(
    known: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = trials(known)
    change_the_area(monkeypatch)
    study = run_study(opened(known), evaluations=12)
    found = write_results(study)
    assert study.priced_anew
    assert study.evaluations == 12
    assert sum(e.measured for e in study.evaluators.values()) <= 2 + len(study.sentinels)
    after = trials(known)
    assert len(before) == 10
    assert before.keys() <= after.keys()
    for key, row in before.items():
        assert after[key]["tiny.quality"] == row["tiny.quality"]
        assert after[key]["tiny.latency_s"] == row["tiny.latency_s"]
        assert float(after[key]["area_mm2"]) > 1.01 * float(row["area_mm2"])
    for design in found.front:
        assert design.objectives["area_mm2"] == pytest.approx(design.cost.area_mm2)
    pool = study.measured["tiny"].known
    assert len(pool) >= len({row["tiny.assignment"] for row in before.values() if row["state"] == "complete"})


def test_a_run_after_that_repeats_it(known: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change_the_area(monkeypatch)
    first = run_study(opened(known), evaluations=12)
    second = run_study(opened(known), evaluations=12)
    assert not second.priced_anew
    assert len(second.ledger.records()) == len(first.ledger.records())
    assert second.front().objectives.tolist() == first.front().objectives.tolist()


def test_another_sampler_goes_on_from_what_is_measured(known: Path) -> None:
    before = opened(known).ledger.records()
    study = run_study(opened(known), evaluations=11, sampler="random")
    assert study.evaluations == 11
    assert {str(r.assignments["tiny"]) for r in before if r.values} <= {
        str(choice.tolist()) for choice in study.measured["tiny"].choices
    }


def test_another_batch_goes_on_from_what_is_measured(known: Path) -> None:
    measured = opened(known).ledger.records()
    (known / "tiny.yaml").write_text(SPACE.replace("batch: 4", "batch: 3"))
    study = run_study(opened(known), evaluations=10)
    assert study.evaluations == len(measured) == 10
    assert len(study.ledger.records()) == 10


def test_trials_have_the_values_of_the_database_while_nothing_changes(once: Path) -> None:
    records = opened(once).ledger.records()
    rows = list(csv.DictReader((once / "study" / "trials.csv").open()))
    written = [tuple(float(row[k]) for k in ("tiny.quality", "area_mm2", "tiny.latency_s") if row[k]) for row in rows]
    assert written == [pytest.approx(record.values, rel=1e-15) for record in records]


def test_the_front_names_both_versions(once: Path) -> None:
    front = json.loads((once / "study" / "front.json").read_text())
    assert (front["code_version"], front["cost_version"]) == (cache.code_version(), prices.cost_version())


# ---- what is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", ["budgets: {area_mm2: 4}", "budgets: {area_mm2: 5}", "budgets: {tiny.latency_s: 4}"])
def test_budgets_are_part_of_what_a_space_is(space_file: Path, budget: str) -> None:
    hashes = [load_space(space_file).space_hash]
    for limits in (budget, budget.replace("}", "0}")):  # 4, then 40
        space_file.write_text(f"{SPACE}{limits}\n")
        hashes.append(load_space(space_file).space_hash)
    assert len(set(hashes)) == 3


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("rows: [2, 4]", "rows: [2, 8]", r"hardware.rows: \[2, 4\] before, \[2, 8\] now"),
        ("objectives:", "budgets: {area_mm2: 4}\nobjectives:", r"budgets.area_mm2: absent before, 4.0 now"),
        ("tests.tiny:task", "tests.tiny:labelled", r"networks.tiny.data: .* before, .* now"),
    ],
)
def test_a_refused_space_is_told_what_changed(known: Path, old: str, new: str, said: str) -> None:
    (known / "tiny.yaml").write_text(SPACE.replace(old, new))
    with pytest.raises(InputError, match=rf"study 'tiny' was made with another space \(.*{said}"):
        opened(known)


def test_a_study_goes_on_after_its_search_section_changed(known: Path) -> None:
    (known / "tiny.yaml").write_text(SPACE.replace("evaluations: 14", "evaluations: 11"))
    assert opened(known).ledger.resumed


def test_a_changed_task_is_refused(tmp_path: Path) -> None:
    """The same weights and data under another metric of the same name."""
    text = "from tests.tiny import labelled, task\n\n\ndef mine():\n    return (*labelled()[:3], loss)\n\n\n"
    metric = "def loss(y, r):\n    return (y - r).square().mean(dim=1)\n"
    spaces = []
    for name, factor in (("a", ""), ("b", " * 2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "own_task.py").write_text(text + metric.replace(".mean(dim=1)", f".mean(dim=1){factor}"))
        (tmp_path / name / "tiny.yaml").write_text(SPACE.replace("tests.tiny:task", "own_task:mine"))
        spaces.append(load_space(tmp_path / name / "tiny.yaml"))
    open_study(spaces[0], tmp_path / "study")
    with pytest.raises(InputError, match="was made with task_code tiny: "):
        open_study(spaces[1], tmp_path / "study")


def joined(folder: Path) -> Any:
    return join_study(open_storage(f"sqlite:///{folder / 'study' / 'study.db'}"), "tiny", cache=None)


def test_a_worker_with_all_the_same_joins(known: Path) -> None:
    assert joined(known).name


def test_a_worker_with_other_code_is_refused(known: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "code_version", lambda: "another")
    with pytest.raises(InputError, match=r"is of code_version .*, this machine has another: install the same codesign"):
        joined(known)


def test_a_worker_with_another_torch_is_refused(known: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "1.0")
    with pytest.raises(InputError, match=r"is measured with torch .*, this machine has 1.0"):
        joined(known)


def _other_weights(task: Any) -> None:
    with torch.no_grad():
        next(task.module.parameters()).add_(1e-3)


def _other_seed(task: Any) -> None:
    task.seed = 1


def _other_data(task: Any) -> None:
    task._evaluation = task._evaluation + 1e-3


def _other_code(task: Any) -> None:
    task.code = "another"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_other_weights, "other weights"),
        (_other_seed, "another seed"),
        (_other_data, "other data"),
        (_other_code, "other code"),
    ],
)
def test_a_worker_with_another_network_is_refused(
    known: Path, monkeypatch: pytest.MonkeyPatch, change: Any, said: str
) -> None:
    load = loading.load_task

    def changed(*arguments: Any, **options: Any) -> Any:
        task = load(*arguments, **options)
        change(task)
        return task

    monkeypatch.setattr(loading, "load_task", changed)
    with pytest.raises(InputError, match=rf"tiny: 'python:tests.tiny:task' \(.*tiny.py\) has {said} here"):
        joined(known)


def test_another_seed_of_the_study_is_refused_in_one_line(known: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", str(known / "tiny.yaml"), "--out", str(known / "study"), "--seed", "1"]) == 2
    assert "was made with seed 0, now 1" in capsys.readouterr().err
