"""Hardware alone: every accelerator with the formats that a space gives, and the exact front of them."""

from __future__ import annotations

import csv
import itertools
import json
import re
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from codesign.cli import main
from codesign.errors import EnvironmentProblem, InputError
from codesign.formats import Assignment
from codesign.hardware import Accelerator, cost
from codesign.search import SearchSpace, load_space, open_study, run_sweep, search
from codesign.search.engine.pareto import nondominated

SPACE = """
name: given
tasks:
  one: {workload: "python:tests.tiny:untrained", formats: [int8, fp8_e4m3]}
  two: {workload: "python:tests.tiny:untrained", assignment: mixed.json}
hardware:
  units: {sets: [[int8, mxfp4], [int8, mxfp4, fp8_e4m3], [int8]]}
  dot: [8, 16]
  rows: [4]
  columns: [2, 4]
  sram_kib: [0.25, 4, 16] # the first holds no tile
  dram: [lpddr5, lpddr6_10667]
  vector_lanes: [0, 4]
objectives: [one.latency_s, energy_j, area_mm2]
search: {front_size: 8}
"""
UNITS = "[[int8, mxfp4], [int8, mxfp4, fp8_e4m3], [int8]]"
LAYERS = ("conv", "to_q", "to_k", "to_v", "root", "head")


def assignment(**changes: dict[str, str]) -> dict[str, dict[str, str]]:
    """int8, but the head in mxfp4."""
    layers = {name: {"weight": "int8", "activation": "int8"} for name in LAYERS}
    layers["root"] = {"activation": "int8", "key": "int8", "value": "int8"}
    return layers | {"head": {"weight": "mxfp4", "activation": "mxfp4"}} | changes


@pytest.fixture
def space_file(tmp_path: Path) -> Path:
    (tmp_path / "mixed.json").write_text(json.dumps(assignment(), indent=1))
    file = tmp_path / "given.yaml"
    file.write_text(SPACE)
    return file


def brute_force(space: SearchSpace) -> dict[tuple[int, int], tuple[float, ...]]:
    """(accelerator, assignment of `one`) -> objectives of what `cost` can price within the budgets, to 12 digits."""
    found, limits = {}, space.spec.budgets
    one, two = space.fixed["one"], space.fixed["two"]
    for (i, chip), (s, chosen) in itertools.product(enumerate(space.grid), enumerate(one.assignments)):
        try:
            costs = cost(one.workload, chip, chosen), cost(two.workload, chip, two.assignments[0])
        except InputError:
            continue
        point = (costs[0].latency_s, sum(c.energy_j for c in costs), costs[0].area_mm2)
        if all(value <= limits.get(name, np.inf) for name, value in zip(OBJECTIVES, point, strict=True)):
            found[i, s] = tuple(float(f"{value:.11e}") for value in point)
    return found


OBJECTIVES = ("one.latency_s", "energy_j", "area_mm2")


@pytest.mark.slow
@pytest.mark.parametrize("budgets", ["", "budgets: {area_mm2: 0.3, one.latency_s: 1.2e-5}"])
def test_the_front_is_that_of_every_accelerator_priced_by_itself(
    space_file: Path, tmp_path: Path, budgets: str
) -> None:
    space_file.write_text(SPACE + budgets)
    space = load_space(space_file)
    assert len(space.grid) == 3 * 2 * 2 * 3 * 2 * 2
    every = brute_force(space)
    points = np.array(list(every.values()))
    best = np.array(list(every))[nondominated(points)]
    found = run_sweep(space, tmp_path / "study")
    assert found.priced >= len(every) > len(best) > 3
    assert {(int(a), int(s)) for a, s in zip(found.front.accelerator, found.front.index["one"], strict=True)} == {
        (int(a), int(s)) for a, s in best
    }
    for row, key in enumerate(zip(found.front.accelerator, found.front.index["one"], strict=True)):
        assert found.front.objectives[row] == pytest.approx(every[int(key[0]), int(key[1])], rel=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [1, 37, 10**6])
def test_how_many_are_priced_at_a_time_changes_nothing(space_file: Path, tmp_path: Path, chunk: int) -> None:
    space = load_space(space_file)
    whole, parts = run_sweep(space, tmp_path / "a"), run_sweep(space, tmp_path / "b", chunk=chunk)
    assert parts.priced == whole.priced
    assert (parts.front.accelerator == whole.front.accelerator).all()
    assert (parts.front.objectives == whole.front.objectives).all()
    assert all((parts.front.index[name] == whole.front.index[name]).all() for name in ("one", "two"))


@pytest.mark.slow
def test_the_folder_is_that_of_any_study_without_quality(space_file: Path, tmp_path: Path) -> None:
    from codesign.designs.folder import as_json
    from codesign.designs.schema import schema

    written = search(space_file, tmp_path / "study")
    front = json.loads((tmp_path / "study" / "front.json").read_text())
    assert front == json.loads(as_json(written.front))
    jsonschema.Draft202012Validator(schema()).validate(front)
    assert front["evaluations"] == 0
    assert len(front["designs"]) == 8 < front["front_size"]
    for design in front["designs"]:
        assert design["quality"] == design["metrics"] == design["accumulator"] == {}
        given = Assignment.from_dict(design["assignments"]["two"])
        assert given.to_dict() == assignment()
        workload = load_space(space_file).fixed["two"].workload
        again = cost(workload, Accelerator.from_dict(design["accelerator"]), given)
        assert design["cost"]["tasks"]["two"]["latency_s"] == again.latency_s
    with (tmp_path / "study" / "fronts.csv").open(newline="") as file:
        every = list(csv.DictReader(file))
    assert {row["one.formats"] for row in every} == {"int8:int8", "fp8_e4m3:fp8_e4m3"}
    rows = [row for row in every if row["on_front"] == "1"]
    assert len(every) > len(rows) == front["front_size"]
    written = np.array([[float(row[o["name"]]) for o in front["objectives"]] for row in rows])
    for design in front["designs"]:
        assert np.isclose(written, list(design["objectives"].values()), rtol=1e-11, atol=0).all(axis=1).any()


def test_the_same_space_and_seed_give_the_same_files(space_file: Path, tmp_path: Path) -> None:
    first, again = (search(space_file, tmp_path / name, seed=3) for name in ("first", "again"))
    fronts = [study.front.model_copy(update={"created": ""}) for study in (first, again)]
    assert fronts[0] == fronts[1]
    tables = [(tmp_path / name / "fronts.csv").read_text() for name in ("first", "again")]
    assert tables[0] == tables[1]


def test_a_file_that_assigns_one_format_is_that_format(space_file: Path, tmp_path: Path) -> None:
    found = []
    uniform = assignment(head={"weight": "int8", "activation": "int8"})
    (tmp_path / "uniform.json").write_text(json.dumps(uniform))
    for formats in ("formats: int8", "assignment: uniform.json"):
        text = SPACE.replace("assignment: mixed.json", formats).replace("formats: [int8, fp8_e4m3]", formats)
        space_file.write_text(text)
        found.append(run_sweep(load_space(space_file), tmp_path / formats[:6]).front)
    assert (found[0].objectives == found[1].objectives).all()


def test_another_assignment_is_another_space(space_file: Path, tmp_path: Path) -> None:
    before = load_space(space_file).space_hash
    assert load_space(space_file).space_hash == before
    changed = assignment(conv={"weight": "mxfp4", "activation": "mxfp4"})
    (tmp_path / "mixed.json").write_text(json.dumps(changed))
    assert load_space(space_file).space_hash != before


FIRST = 'one: {workload: "python:tests.tiny:untrained"'
ONE = 'one: {workload: "python:tests.tiny:untrained", formats: [int8, fp8_e4m3]}'
MISTAKES = {
    "unknown network": (
        ('one: {workload: "python:tests.tiny:untrained"', 'one: {workload: "sd15-unte"'),
        r"4: .*'sd15-unet'",
    ),
    "misspelt bundled task": (
        ('one: {workload: "python:tests.tiny:untrained"', "one: {workload: restor"),
        r"4: .*'restore'",
    ),
    "unknown option": (
        ('one: {workload: "python:tests.tiny:untrained"', 'one: {workload: "sd15-unet:step=2"'),
        r"4: .*'steps'",
    ),
    "unknown format": (("[int8, fp8_e4m3]}", "[int8, fp8_e4m4]}"), r"4: tasks.one.formats: .*'fp8_e4m3'"),
    "format that no unit has": (
        ("[int8, fp8_e4m3]}", "[int8, fp8_e5m2]}"),
        r"4: tasks.one.formats: no unit .*fp8_e5m2",
    ),
    "both kinds": (
        ('one: {workload: "python', 'one: {task: restore, workload: "python'),
        r"4: .*either task.* or workload",
    ),
    "neither kind": ((ONE, "one: {formats: int8}"), r"4: tasks.one: give either task"),
    "no formats": ((", formats: [int8, fp8_e4m3]", ""), r"4: tasks.one: a workload takes either formats"),
    "formats twice": (
        ("formats: [int8, fp8_e4m3]", "formats: int8, assignment: mixed.json"),
        r"4: .*either formats or",
    ),
    "layers": (("formats: [int8, fp8_e4m3]", "formats: int8, layers: {conv: [int8]}"), r"4: .*layers goes with task"),
    "formats of a task": ((ONE, "one: {task: restore, formats: int8}"), r"4: tasks.one: formats goes with workload"),
    "misspelt key": (("formats: [int8", "format: [int8"), r"4: unknown key 'tasks.one.format'; did you mean 'formats'"),
    "some measured": ((ONE, 'one: {task: "python:tests.tiny:untrained"}'), r"5: tasks: the formats of 'two' are given"),
    "missing file": (("mixed.json", "mixd.json"), r"5: tasks.two.assignment: .*mixd.json: no such file"),
    "pairs": (("hardware:", "pairs: [int8]\nhardware:"), r"6: pairs: means nothing where"),
    "evaluations": (("front_size: 8", "front_size: 8, evaluations: 3"), r"15: search.evaluations: means nothing"),
    "threshold": (("name: given", "name: given\naccumulator_sqnr_db: 3"), r"3: accumulator_sqnr_db: means nothing"),
    "quality": (("[one.latency_s", "[one.quality"), r"14: objectives: 'one.quality' is not measured"),
    "budget of quality": (
        ("search:", "budgets: {two.quality: 1}\nsearch:"),
        r"15: budgets.two.quality: .*is not measured",
    ),
    "no such cost": (("[one.latency_s", "[one.latency"), r"14: .*did you mean 'one.latency_s'"),
    "per token": (("[one.latency_s", "[one.latency_per_token_s"), r"14: .*unknown objective"),
    "overflow": (("  dot:", "  accumulator: [int16]\n  dot:"), r"8: hardware.accumulator: "),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_with_its_place(
    mistake: str, space_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (old, new), pattern = MISTAKES[mistake]
    assert old in SPACE
    space_file.write_text(SPACE.replace(old, new, 1))
    assert main(["validate", str(space_file)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    (error,) = (line for line in lines if not line.startswith("space: "))  # on a slow machine it says what it does
    assert re.search(f"given.yaml:{pattern}", error), error


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"haed": {"weight": "int8", "activation": "int8"}}, "has no layer 'haed'; did you mean 'head'"),
        ({"conv": {"weight": "itn8", "activation": "int8"}}, r"mixed.json:3: layer 'conv': weight: .*did you mean"),
        ({"conv": {"activation": "int8", "key": "int8", "value": "int8"}}, "no stationary format"),
        ({"conv": {"weight": "bf16", "activation": "bf16"}}, "no unit of the space supports bf16:bf16"),
    ],
)
def test_a_mistake_in_an_assignment_names_both_places(
    space_file: Path, tmp_path: Path, layers: dict[str, dict[str, str]], message: str
) -> None:
    (tmp_path / "mixed.json").write_text(json.dumps(assignment(**layers), indent=1))
    with pytest.raises(InputError, match=rf"given.yaml:5: tasks.two.assignment: .*{message}"):
        load_space(space_file)


def test_pairs_of_an_assignment_need_one_unit_that_has_them_all(space_file: Path, tmp_path: Path) -> None:
    three = assignment(conv={"weight": "fp8_e4m3", "activation": "fp8_e4m3"})
    (tmp_path / "mixed.json").write_text(json.dumps(three))
    (pairs,) = load_space(space_file).fixed["two"].pairs()
    assert sorted(map(str, pairs)) == ["fp8_e4m3:fp8_e4m3", "int8:int8", "mxfp4:mxfp4"]


def test_pairs_that_no_unit_has_together_are_named(space_file: Path) -> None:
    space_file.write_text(
        SPACE.replace("[[int8, mxfp4], [int8, mxfp4, fp8_e4m3], [int8]]", "[[int8], [mxfp4], [fp8_e4m3]]")
    )
    with pytest.raises(InputError, match=r"5: tasks.two.assignment: no unit .* int8:int8, mxfp4:mxfp4 together"):
        load_space(space_file)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("[0.25, 4, 16]", "[0.25]", "SRAM holds no tile"),
        ("search:", "budgets: {area_mm2: 1.0e-9}\nsearch:", "loosen a budget"),
    ],
)
def test_a_space_without_a_design_says_why(space_file: Path, tmp_path: Path, old: str, new: str, why: str) -> None:
    assert old in SPACE
    space_file.write_text(SPACE.replace(old, new))
    with pytest.raises(InputError, match=rf"none of \d+ accelerators is a design: .*{why}"):
        run_sweep(load_space(space_file), tmp_path / "study")


def test_formats_that_no_unit_has_for_all_networks_drop_out(space_file: Path, tmp_path: Path) -> None:
    """`one` in fp8 goes with no unit of `two`; in int8 it does."""
    space_file.write_text(SPACE.replace(UNITS, "[[int8, mxfp4], [fp8_e4m3]]"))
    assert set(run_sweep(load_space(space_file), tmp_path / "study").front.index["one"]) == {0}


# ---- the door -------------------------------------------------------------------------------------


def test_one_command_writes_front_and_report(
    space_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["search", str(space_file), "--out", str(out), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["evaluations"] == 0
    for key in ("front", "fronts", "markdown", "html"):
        assert Path(result[key]).stat().st_size > 0
    text = (out / "report.md").read_text()
    assert "Every one of 144 accelerators was priced" in text
    assert "## Formats compared" in text
    assert "quality" not in (out / "front.csv").read_text()
    assert main(["report", str(out)]) == 0
    assert main(["search", str(space_file), "--out", str(out)]) == 0
    assert "144 accelerators, " in capsys.readouterr().out


def test_explain_and_validate_know_given_formats(space_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(space_file), "--json"]) == 0
    valid = json.loads(capsys.readouterr().out)
    assert main(["explain", str(space_file), "--json"]) == 0
    explained = json.loads(capsys.readouterr().out)
    assert explained["fixed"] == {"one": ["int8:int8", "fp8_e4m3:fp8_e4m3"], "two": ["mixed.json"]}
    assert valid["layers"] == {name: len(layers) for name, layers in explained["layers"].items()}
    assert [layer["choices"] for layer in explained["layers"]["one"]] == [2] * 6
    assert [layer["choices"] for layer in explained["layers"]["two"]] == [1] * 6
    assert main(["explain", str(space_file)]) == 0
    assert "every accelerator is priced" in capsys.readouterr().out


@pytest.mark.parametrize(
    "option", [["--resume"], ["--workers", "2"], ["--sampler", "tpe"], ["--evaluations", "9"], ["--timeout", "1h"]]
)
def test_options_of_measuring_are_refused(
    space_file: Path, tmp_path: Path, option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", str(space_file), "--out", str(tmp_path / "out"), *option]) == 2
    assert f"{option[0]} goes with measured tasks" in capsys.readouterr().err


def test_what_was_measured_is_not_overwritten(space_file: Path, tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("")
    with pytest.raises(InputError, match="holds a study with measured designs"):
        search(space_file, tmp_path)
    with pytest.raises(InputError, match="nothing to measure"):
        open_study(load_space(space_file), tmp_path / "other")
    (tmp_path / "file").write_text("a file is no folder, for root neither")
    with pytest.raises(EnvironmentProblem):
        search(space_file, tmp_path / "file" / "out")


def test_there_is_no_network_to_export(space_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    design = search(space_file, tmp_path / "study").front[0].id
    for target in ("brevitas", "rtl"):
        given = ["export", str(tmp_path / "study"), "--design", design, "--to", target, "-o", str(tmp_path / "out")]
        assert main(given) == 2
        assert "'one' is a workload in given formats: there is no network to export" in capsys.readouterr().err
