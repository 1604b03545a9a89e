"""A cost metric is one row: a product of columns is searched and bounded exactly, and packages add rows."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from codesign.cli import main
from codesign.designs import load_study
from codesign.errors import InputError
from codesign.hardware.schedule.tables import FIELDS
from codesign.search import CostMetric, load_space, open_study, run_sweep, search
from codesign.search.engine.combiner import Combiner
from codesign.search.engine.costs import AdditiveCosts
from codesign.search.engine.pareto import nondominated
from codesign.search.engine.points import Pool
from codesign.search.space.cost_metrics import COST_METRICS
from codesign.search.space.objectives import Objective, column
from tests.packages import install_package
from tests.search import SPACE

EDP = Objective("edp_js", "J s", None, "edp_js")
MODULE = """
import numpy as np
from codesign import CostMetric

ed2p = CostMetric("ed2p_js2", "J s2", "energy x latency squared", ("energy_j", "latency_s"), lambda e, t: e * t**2)
die = CostMetric("die_usd", "USD", "of a die at 0.1 USD/mm2, 2 USD its package", ("area_mm2",), lambda a: 2 + 0.1 * a)
stored = CostMetric("stored_mib", "MiB", "stored weights", ("weight_bytes",), lambda b: b / 2**20)
per_second = CostMetric("per_second", "1/s", "results", ("latency_s",), lambda t: 1 / t)
misspelt = CostMetric("misspelt", "J", "energy", ("energy",))
summed = CostMetric("summed", "J", "energy", ("energy_j",), lambda e: e.sum())
branching = CostMetric("branching", "J", "energy", ("energy_j",), lambda e: e if e > 1 else 1)
two = CostMetric("two", "J", "energy", ("energy_j", "latency_s"))
text = CostMetric("text", "J", "energy", ("energy_j"))
other_name = CostMetric("another", "J", "energy", ("energy_j",))
area = CostMetric("area_mm2", "m2", "not ours", ("bitops",))
nothing = 3
"""
ROWS = {
    "ed2p_js2": "ed2p",
    "die_usd": "die",
    "stored_mib": "stored",
    "area_mm2": "area",
    **{
        name: name for name in ("per_second", "misspelt", "summed", "branching", "two", "text", "other_name", "nothing")
    },
}
GIVEN = """
name: given
tasks:
  one: {workload: "python:tests.tiny:untrained", formats: [int8, fp8_e4m3]}
  two: {workload: "python:tests.tiny:untrained", formats: [int8]}
hardware:
  units: {sets: [[int8], [int8, fp8_e4m3]]}
  rows: [2, 4]
  columns: [2, 4]
  sram_kib: [4, 16]
objectives: [one.edp_js, edp_js, area_mm2]
search: {front_size: 64}
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with rows, some of which do not fit."""
    points = "".join(f"{name} = added_metrics:{row}\n" for name, row in ROWS.items())
    install_package(tmp_path / "site", "added_metrics", MODULE, f"[codesign.objectives]\n{points}")
    monkeypatch.syspath_prepend(tmp_path / "site")


def with_objectives(file: Path, objectives: str, more: str = "") -> Path:
    file.write_text(SPACE.replace("[tiny.quality, area_mm2, tiny.latency_s]", f"[{objectives}]") + more)
    return file


def test_a_total_is_computed_from_sums_over_networks_and_the_area_of_the_chip() -> None:
    area, quality = np.array([10.0, 20.0]), {"a": np.array([0.5, 0.25]), "b": np.array([1.0, 2.0])}
    costs = {
        "a": {"energy_j": np.array([2.0, 3.0]), "latency_s": np.array([0.25, 0.5])},
        "b": {"energy_j": np.array([6.0, 7.0]), "latency_s": np.array([0.75, 1.5])},
    }
    per_area = CostMetric("x", "J mm2", "", ("energy_j", "area_mm2"), np.multiply)
    expected = {
        EDP: [8.0, 20.0],  # (2 + 6) (0.25 + 0.75) and (3 + 7) (0.5 + 1.5)
        Objective("a.edp_js", "J s", "a", "edp_js"): [0.5, 1.5],
        Objective("energy_j", "J", None, "energy_j"): [8.0, 10.0],
        Objective("b.latency_s", "s", "b", "latency_s"): [0.75, 1.5],
        Objective("b.quality", "", "b", "quality"): [1.0, 2.0],
        Objective("area_mm2", "mm2", None, "area_mm2"): [10.0, 20.0],
        Objective("x", "J mm2", None, "x", row=per_area): [80.0, 200.0],
        Objective("a.x", "J mm2", "a", "x", row=per_area): [20.0, 60.0],
    }
    assert {o: column(o, area, quality, costs).tolist() for o in expected} == expected


def test_every_column_of_the_tables_has_a_row_and_every_row_says_what_it_means() -> None:
    assert set(FIELDS) == {c for metric in COST_METRICS.values() for c in metric.of}
    assert all(metric.meaning for metric in COST_METRICS.values())
    assert [m.name for m in COST_METRICS.values() if not m.needs_hardware] == ["quality", "weight_bytes", "bitops"]


@pytest.mark.parametrize("limits", [{}, {"edp_js": 1.2}, {"a.edp_js": 0.2}, {"edp_js": 1.5, "b.energy_j": 0.6}])
def test_the_front_and_a_budget_of_a_product_are_those_of_all_designs(limits: dict[str, float]) -> None:
    rng, layers, choices = np.random.default_rng(1), 3, np.array(list(itertools.product(range(3), repeat=3)))
    tables = {n: {f: rng.random((layers, 3)) * 0.4 for f in ("energy_j", "latency_s")} for n in "ab"}
    sums = {n: {f: t[np.arange(layers), choices].sum(axis=1) for f, t in table.items()} for n, table in tables.items()}
    pools = {n: Pool(choices, rng.random(len(choices))) for n in "ab"}
    objectives = [Objective("a.quality", "", "a", "quality"), Objective("b.quality", "", "b", "quality"), EDP]
    budgets = [
        (Objective(name, "", name.rpartition(".")[0] or None, name.rpartition(".")[2]), limit)
        for name, limit in limits.items()
    ]
    costs = {n: AdditiveCosts(table) for n, table in tables.items()}
    combiner = Combiner(costs, objectives, budgets, np.zeros(1, dtype=int))
    found = combiner.front(pools)

    i, j = np.indices((len(choices), len(choices))).reshape(2, -1)
    energy, latency = (sums["a"][f][i] + sums["b"][f][j] for f in ("energy_j", "latency_s"))
    bounded = {
        "edp_js": energy * latency,
        "a.edp_js": (sums["a"]["energy_j"] * sums["a"]["latency_s"])[i],
        "b.energy_j": sums["b"]["energy_j"][j],
    }
    kept = np.all([bounded[name] <= limit for name, limit in limits.items()] or [np.ones(len(i), bool)], axis=0)
    assert 0 < kept.sum() < len(i) or not limits
    every = np.stack([pools["a"].quality[i], pools["b"].quality[j], energy * latency], axis=1)[kept]
    best = every[nondominated(every)]
    assert len(found) == len(best)
    assert np.allclose(sorted(found.objectives.tolist()), sorted(best.tolist()))
    assert combiner.bounds_sums() == ("b.energy_j" in limits)
    assert len(combiner.bounds(0)) == sum(name == "b.energy_j" for name in limits)


def test_energy_delay_products_of_a_search_are_those_of_its_designs(space_file: Path, tmp_path: Path) -> None:
    with_objectives(space_file, "tiny.quality, edp_js, tiny.edp_js")
    found = search(space_file, tmp_path / "study", seed=0, evaluations=6).front
    assert [(o.name, o.unit) for o in found.objectives[1:]] == [("edp_js", "J s"), ("tiny.edp_js", "J s")]
    for design in found:
        network = design.cost.tasks["tiny"]
        assert design.objectives["tiny.edp_js"] == network.energy_j * network.latency_s
        assert design.objectives["edp_js"] == design.cost.energy_j * design.cost.latency_s
    assert not any(one.dominates(other) for one, other in itertools.permutations(found, 2))


@pytest.mark.slow
def test_a_budget_of_an_energy_delay_product_is_kept(space_file: Path, tmp_path: Path) -> None:
    with_objectives(space_file, "tiny.quality, area_mm2, tiny.edp_js")
    free = search(space_file, tmp_path / "free", seed=0, evaluations=4)
    limit = float(np.median([d.objectives["tiny.edp_js"] for d in free.front]))
    with_objectives(space_file, "tiny.quality, area_mm2", f"budgets: {{tiny.edp_js: {limit}, edp_js: {limit * 2}}}\n")
    assert not open_study(load_space(space_file), tmp_path / "open", seed=0).combiner.bounds_sums()
    found = search(space_file, tmp_path / "study", seed=0, evaluations=6)
    products = [d.cost.tasks["tiny"].energy_j * d.cost.tasks["tiny"].latency_s for d in found.front]
    assert len(products) > 0
    assert max(products) <= limit * (1 + 1e-6)


def test_a_sweep_of_two_networks_compares_products_of_sums(tmp_path: Path) -> None:
    (tmp_path / "given.yaml").write_text(GIVEN)
    assert main(["search", str(tmp_path / "given.yaml"), "--out", str(tmp_path / "study")]) == 0
    study = load_study(tmp_path / "study")
    for design in study.front:
        one, two = design.cost.tasks["one"], design.cost.tasks["two"]
        product = (one.energy_j + two.energy_j) * (one.latency_s + two.latency_s)
        assert design.objectives["edp_js"] == pytest.approx(product, rel=1e-12)
        assert design.objectives["one.edp_js"] == one.energy_j * one.latency_s
    (tmp_path / "plain.yaml").write_text(GIVEN.replace("[one.edp_js, edp_js", "[energy_j, latency_s, one.edp_js"))
    plain = run_sweep(load_space(tmp_path / "plain.yaml"), tmp_path / "plain").front.objectives
    products = run_sweep(load_space(tmp_path / "given.yaml"), tmp_path / "products").front.objectives
    candidates = np.stack([plain[:, 2], plain[:, 0] * plain[:, 1], plain[:, 3]], axis=1)
    assert {f"{v:.9e}" for v in products[:, 1]} <= {f"{v:.9e}" for v in candidates[:, 1]}


@pytest.mark.slow
@pytest.mark.usefixtures("packages")
def test_rows_of_an_installed_package_are_searched_explained_and_written(
    space_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_objectives(space_file, "tiny.quality, die_usd, tiny.ed2p_js2", "budgets: {die_usd: 2.05}\n")
    assert main(["explain", str(space_file), "--json"]) == 0
    explained = json.loads(capsys.readouterr().out)["objectives"]
    assert [(o["name"], o["unit"]) for o in explained[1:]] == [("die_usd", "USD"), ("tiny.ed2p_js2", "J s2")]
    assert explained[1]["meaning"] == "of a die at 0.1 USD/mm2, 2 USD its package"
    out = tmp_path / "study"
    assert main(["search", str(space_file), "--out", str(out), "--evaluations", "5"]) == 0
    written = json.loads((out / "front.json").read_text())
    assert [o["name"] for o in written["objectives"]] == ["tiny.quality", "die_usd", "tiny.ed2p_js2"]
    assert written["designs"]
    for design in written["designs"]:
        network, values = design["cost"]["tasks"]["tiny"], design["objectives"]
        assert values["die_usd"] == pytest.approx(2 + 0.1 * design["cost"]["area_mm2"], rel=1e-12)
        assert values["die_usd"] <= 2.05
        assert values["tiny.ed2p_js2"] == pytest.approx(network["energy_j"] * network["latency_s"] ** 2, rel=1e-12)
        assert "ed2p_js2" not in network
    assert "tiny.ed2p_js2" in next(csv.reader((out / "fronts.csv").open()))
    assert "die_usd" in (out / "report.md").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "misspelt",
            "objective 'misspelt' of added_metrics:misspelt: unknown column 'energy'; did you mean 'energy_j'",
        ),
        ("per_second", "it falls where latency_s grows"),
        ("summed", "not elementwise"),
        ("branching", "not computed from arrays: The truth value"),
        ("two", "2 columns need a function of them"),
        ("text", "expected a CostMetric of a tuple of columns"),
        ("nothing", "expected a CostMetric"),
        ("other_name", "its row is called 'another'"),
        ("tiny.die_usd", "unknown objective 'tiny.die_usd'"),
    ],
)
def test_a_row_that_does_not_fit_is_one_line(space_file: Path, name: str, message: str) -> None:
    with_objectives(space_file, f"tiny.quality, {name}")
    with pytest.raises(InputError, match=message) as error:
        load_space(space_file)
    assert str(error.value).startswith(f"{space_file}:13: objectives: ")


def test_an_unknown_name_is_answered_with_the_nearest_of_all(
    space_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_package(tmp_path, "ed2p_alone", MODULE, "[codesign.objectives]\ned2p_js2 = ed2p_alone:ed2p\n")
    monkeypatch.syspath_prepend(tmp_path)
    for wrong, right in {"ed2p_js": "ed2p_js2", "tiny.ed2p": "tiny.ed2p_js2", "edp": "edp_js"}.items():
        with pytest.raises(InputError, match=f"unknown objective '{wrong}'; did you mean '{right}'"):
            load_space(with_objectives(space_file, f"tiny.quality, {wrong}"))


@pytest.mark.usefixtures("packages")
def test_a_package_takes_no_name_of_ours(space_file: Path) -> None:
    assert load_space(space_file).objectives[1].metric is COST_METRICS["area_mm2"]


@pytest.mark.usefixtures("packages")
def test_a_space_without_hardware_has_what_formats_alone_decide(space_file: Path) -> None:
    head, _, rest = with_objectives(space_file, "tiny.quality, tiny.stored_mib").read_text().partition("hardware:")
    text = head + rest[rest.index("objectives:") :]
    space_file.write_text(text)
    assert load_space(space_file).objectives[1].unit == "MiB"
    for name in ("tiny.edp_js", "tiny.ed2p_js2", "die_usd"):
        space_file.write_text(text.replace("tiny.stored_mib", name))
        with pytest.raises(InputError, match=f"'{name}' needs hardware: "):
            load_space(space_file)
