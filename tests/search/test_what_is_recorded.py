"""What a study records of its qualities, and of every point that it measured."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from codesign.cli import main
from codesign.designs import load_study
from codesign.errors import InputError
from codesign.formats import FormatPair, get_format
from codesign.models import load_task
from codesign.quality.ranges import Ranges
from codesign.search import load_space
from codesign.search.results.words import designs_in_words
from tests.report.embedded import embedded
from tests.search import SPACE

SCHEMA = json.loads((Path(__file__).parents[2] / "codesign" / "designs" / "front.schema.json").read_text())


def searched(tmp_path: Path, text: str, *options: str) -> Path:
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "space.yaml").write_text(text)
    folder = tmp_path / "study"
    assert main(["search", str(tmp_path / "space.yaml"), "--out", str(folder), *options]) == 0
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty evaluations with ranges from the command line: enough for designs that noise does not tell apart."""
    text = SPACE.replace("front_size: 12", "front_size: 100")
    return searched(tmp_path_factory.mktemp("recorded"), text, "--ranges", "minmax", "--evaluations", "30")


def front_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "front.json").read_text())


@pytest.mark.slow
def test_a_front_says_what_its_qualities_are(study: Path) -> None:
    front = front_of(study)
    jsonschema.validate(front, SCHEMA)
    task = front["tasks"]["tiny"]
    assert task["data"] == load_task("python:tests.tiny:task").data_fingerprint()
    wanted = {"task": "python:tests.tiny:task", "metric": "squared_error", "scale": "log10", "ranges": "minmax"}
    assert wanted.items() <= task.items()


@pytest.mark.slow
def test_a_metric_of_a_users_own_decides_and_is_named_with_its_unit(tmp_path: Path) -> None:
    folder = searched(tmp_path, SPACE.replace("tiny:task", "tiny:in_decibels"), "--evaluations", "8")
    front = front_of(folder)
    assert {"metric": "negated_psnr", "scale": "db"}.items() <= front["tasks"]["tiny"].items()
    for design in front["designs"]:
        found = design["quality"]["tiny"]
        assert (found["metric"], found["unit"]) == ("negated_psnr", "dB")
        assert found["value"] == design["objectives"]["tiny.quality"] < 0
    assert "negated_psnr" in (folder / "report.md").read_text()


def test_every_design_of_a_small_front_is_reported_and_those_within_noise_are_marked(study: Path) -> None:
    front, details = front_of(study), load_study(study).record
    assert len(front["designs"]) == front["front_size"]
    marked = [design["id"] for design in front["designs"] if not design["told_apart"]]
    assert len(marked) == front["front_size"] - details.told_apart > 0
    report = (study / "report.md").read_text()
    for identifier in marked:
        (row,) = (line for line in report.splitlines() if line.startswith(f"| `{identifier}` "))
        assert "as good as a cheaper one" in row
    assert f"{len(marked)} of these, marked" in report
    rows = {row["id"]: row for row in csv.DictReader((study / "front.csv").open())}
    assert {i for i, row in rows.items() if row["told_apart"] == "0"} == set(marked)
    assert front["designs"][0].keys() >= {"told_apart"}
    assert details.chosen not in marked


def test_the_whole_front_is_in_one_table_that_points_at_the_measured_points(study: Path) -> None:
    rows, front = list(csv.DictReader((study / "fronts.csv").open())), front_of(study)
    assert len(rows) == front["front_size"]
    assert {row["reported"] for row in rows if row["reported"]} == {design["id"] for design in front["designs"]}
    measured = {row["tiny.assignment"] for row in csv.DictReader((study / "trials.csv").open())}
    assert {row["tiny.assignment"] for row in rows} <= measured


def test_one_file_has_every_measured_point_with_its_formats(study: Path) -> None:
    rows = list(csv.DictReader((study / "trials.csv").open()))
    layers = load_task("python:tests.tiny:task").workload().layers
    assert len(rows) == 30
    assert rows[0]["proposed_by"] == "uniform int8:int8"
    assert {rows[0][f"tiny.{layer}"] for layer in layers} == {"int8:int8"}
    assert any(len({row[f"tiny.{layer}"] for layer in layers}) > 1 for row in rows)
    named = {json.dumps(design["assignments"]["tiny"], sort_keys=True) for design in front_of(study)["designs"]}
    assert len(named) > 3
    kinds = load_task("python:tests.tiny:task").workload().layer_kinds()
    from codesign.formats import Assignment

    written = {
        json.dumps(
            Assignment.of_pairs({la: FormatPair.parse(row[f"tiny.{la}"]) for la in layers}, kinds).to_dict(),
            sort_keys=True,
        )
        for row in rows
    }
    assert named <= written


def test_the_report_says_in_words_that_quality_is_a_loss(study: Path) -> None:
    report = (study / "report.md").read_text()
    wanted = "Quality of tiny is squared_error in log10: a loss, smaller is better; the float network's own is -12."
    assert wanted in report
    assert "clipped to the largest magnitude of the calibration data (ranges: minmax)" in report
    assert "--ranges minmax` measures it again" in report


@pytest.mark.slow
def test_the_report_says_how_to_measure_again_where_the_command_line_overrode_the_file(tmp_path: Path) -> None:
    text = SPACE.replace(':task"}', ':task", ranges: minmax}')
    folder = searched(tmp_path, text, "--ranges", "mse", "--evaluations", "4")
    assert front_of(folder)["tasks"]["tiny"]["ranges"] == "mse"
    assert "--ranges mse` measures it again" in (folder / "report.md").read_text()


def test_help_and_explain_say_in_words_that_quality_is_a_loss(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("search", "evaluate"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        assert "a loss: smaller is better" in " ".join(capsys.readouterr().out.split())
    (tmp_path / "space.yaml").write_text(SPACE.replace("area_mm2, tiny.latency_s", "tiny.bitops"))
    assert main(["explain", str(tmp_path / "space.yaml"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    meaning = {o["name"]: o["meaning"] for o in facts["objectives"]}
    assert "smaller is better" in meaning["tiny.quality"]
    assert "int4_g32 counts 4 bits" in meaning["tiny.bitops"]


def test_a_bundled_quality_has_its_unit() -> None:
    space = load_space(Path(__file__).parents[2] / "search_spaces" / "smoke.yaml")
    assert {o.name: o.unit for o in space.objectives}["rewrite.quality"] == "nats/token"


# ---- ranges ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_space_and_the_command_line_choose_the_ranges(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(SPACE.replace(':task"}', ':task", ranges: percentile}'))
    assert load_space(file).networks["tiny"].ranges == "percentile"
    assert load_space(file, ranges="minmax").networks["tiny"].ranges == "minmax"
    hashes = {load_space(file, ranges=rule).space_hash for rule in ("auto", "minmax", "percentile")}
    assert len(hashes) == 3
    file.write_text(SPACE)
    assert load_space(file).space_hash in hashes  # the default, written or not


def test_a_study_with_other_ranges_does_not_go_on(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = study.parent / "space.yaml"
    assert main(["search", str(space), "--out", str(study), "--resume"]) == 2
    assert "was made with ranges tiny: minmax, now tiny: auto" in capsys.readouterr().err


def test_an_unknown_rule_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(SPACE.replace(':task"}', ':task", ranges: max}'))
    with pytest.raises(
        InputError, match=r"space.yaml:4: tasks.tiny.ranges: .*'auto', 'minmax', 'mse', 'output' or 'percentile'"
    ):
        load_space(file)


def test_evaluate_measures_with_the_ranges_that_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    values = {}
    for rule in ("mse", "minmax"):
        options = ["--task", "python:tests.tiny:task", "--formats", "int4", "--ranges", rule, "--json"]
        assert main(["evaluate", *options]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["ranges"] == rule
        values[rule] = found["metrics"][0]["value"]
    assert values["mse"] != values["minmax"]


def test_exports_use_the_ranges_of_the_study(study: Path, tmp_path: Path) -> None:
    pytest.importorskip("brevitas.nn", reason="codesign[brevitas] is not installed")
    from codesign.export import export_design

    supported = {"int8", "int4", "fp8_e4m3"}
    design = next(
        d
        for d in front_of(study)["designs"]
        if {f for la in d["assignments"]["tiny"].values() for f in la.values()} <= supported
    )
    written = export_design(study, design["id"], "brevitas", tmp_path)
    assert written["tasks"]["tiny"]["psnr_db"] > 60
    manifest = json.loads((tmp_path / "tiny" / "manifest.json").read_text())
    assert manifest["range_rule"] == "minmax"
    ranges = Ranges(load_task("python:tests.tiny:task"), "minmax")
    clipped = [(layer, operand, amax) for layer, found in manifest["ranges"].items() for operand, amax in found.items()]
    assert len(clipped) == 5 + 4  # inputs of layers; query, key, probability and value of the attention
    for layer, operand, amax in clipped:
        assert amax == ranges.get((layer, operand), get_format(manifest["formats"][layer]["activation"]))


# ---- formats alone -----------------------------------------------------------------------------------

ALONE = """
name: alone
tasks:
  tiny: {task: "python:tests.tiny:task"}
pairs: [int8, "int4:int8", fp8_e4m3, mxfp4]
objectives: [tiny.quality, tiny.bitops]
budgets: {tiny.weight_bytes: 1.0e+6}
search: {evaluations: 10, batch: 4}
"""


@pytest.fixture(scope="module", params=["codesign", "nsga2"])
def alone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of formats alone, by our own strategy and by one of Optuna's."""
    return searched(tmp_path_factory.mktemp("alone"), ALONE, "--sampler", request.param)


@pytest.mark.slow
def test_hardware_may_be_left_out_where_nothing_needs_it(
    alone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    front = front_of(alone)
    jsonschema.validate(front, SCHEMA)
    assert not front["hardware_given"]
    macs = sum(op.macs for op in load_task("python:tests.tiny:task").workload().operators)
    rows = list(csv.DictReader((alone / "trials.csv").open()))
    assert float(rows[0]["tiny.bitops"]) == 64 * macs  # int8 throughout
    report = (alone / "report.md").read_text()
    assert "formats alone" in report
    assert "mm2" not in report
    assert not {"unit", "rows", "area_mm2"} & rows[0].keys()
    capsys.readouterr()
    assert main(["rtl", str(alone), "--design", front["designs"][0]["id"], "-o", str(tmp_path / "rtl")]) == 2
    assert "its space has no hardware" in capsys.readouterr().err


def test_formats_alone_know_no_accumulator_that_could_overflow(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(ALONE.replace("mxfp4]", '"int16:int16"]'))
    assert load_space(file).networks["tiny"].pairs[-1] == FormatPair("int16", "int16")


def test_a_report_of_formats_alone_speaks_of_no_chip(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = (alone / "report.md").read_text()
    assert "chip" not in report.replace("no chip", "")
    assert "accumulator" not in report
    capsys.readouterr()
    design = front_of(alone)["designs"][0]["id"]
    assert main(["transfer", str(alone), "--design", design, "--to", "llama3.2-1b", "--default", "int8"]) == 2
    assert "its space has no chip to cost 'llama3.2-1b' on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("tiny.bitops]", "area_mm2]", 6),
        ("tiny.bitops]", "tiny.latency_s]", 6),
        ("tiny.weight_bytes", "energy_j", 7),
    ],
)
def test_what_a_chip_decides_needs_hardware(old: str, new: str, line: int, tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(ALONE.replace(old, new))
    with pytest.raises(InputError, match=rf"space.yaml:{line}: .*needs hardware: \(without it .* quality, weig"):
        load_space(file)


# ---- batch normalisation -----------------------------------------------------------------------------


@pytest.mark.slow
def test_batch_normalisations_that_are_not_folded_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = "2 batch normalisations are not folded"
    text = SPACE.replace('tests.tiny:task"', 'tests.tiny:normed", prepare: none')
    folder = searched(tmp_path, text, "--evaluations", "4")
    assert said in capsys.readouterr().out
    assert said in (folder / "report.md").read_text()
    assert said in json.dumps(embedded(folder))
    assert main(["explain", str(tmp_path / "space.yaml")]) == 0
    assert said in " ".join(capsys.readouterr().out.split())
    options = ["--workload", "python:tests.tiny:normed", "--accelerator", "phone-npu-small"]
    assert main(["cost", *options]) == 0
    assert "2 batch normalisations are priced on the vector unit" in capsys.readouterr().out
    assert main(["cost", *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["batch_norms"] == 2


def test_nothing_is_said_of_a_network_without_them(study: Path) -> None:
    assert "batch normalisation" not in (study / "report.md").read_text()


@pytest.mark.slow
def test_layers_whose_losses_are_measured_for_want_of_a_gradient_are_said(tmp_path: Path) -> None:
    out = searched(tmp_path, SPACE.replace("tests.tiny:task", "tests.tiny:detached"), "--evaluations", "6")
    said = [line for line in (out / "search.log").read_text().splitlines() if "gradient" in line]
    assert len(said) == 1
    assert "sensitivities: tiny: no gradient of the outputs reaches layer conv: its losses are measured" in said[0]
    assert all(
        loss > 0 for loss in json.loads((out / "details.json").read_text())["sensitivities"]["tiny"]["conv"].values()
    )


@pytest.mark.parametrize(
    ("log10", "words"), [(math.log10(16), "16"), (math.log10(9999), "9,999"), (4.0, "10^4"), (88.0, "10^88")]
)
def test_few_designs_are_counted_and_many_given_as_a_power_of_ten(log10: float, words: str) -> None:
    assert designs_in_words(log10) == words
