"""report.html, report.md and front.csv, drawn from a study folder."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from codesign import report
from codesign.errors import EnvironmentProblem, InputError
from codesign.report import front_csv, load_study, write_report
from codesign.report.words import formats_words
from tests.report.embedded import Page, embedded
from tests.report.synthetic import CHOICES, DESIGNS, LAYERS, OBJECTIVES, write_study, write_trials

HOSTILE = '</script><script>alert("$title & |")</script>'


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_study(tmp_path / "study")


def test_it_says_which_files_it_wrote_and_leaves_no_others(study: Path) -> None:
    before = {p.name for p in study.iterdir()}
    assert write_report(study) == (study / "report.md", study / "report.html")
    assert {p.name for p in study.iterdir()} - before == {"report.md", "report.html", "front.csv"}


def test_it_writes_the_same_again(study: Path) -> None:
    def written() -> list[str]:
        return [p.read_text() for p in (*write_report(study), study / "front.csv")]

    assert written() == written()


def test_every_design_stands_in_the_page_and_in_the_text(study: Path) -> None:
    markdown = write_report(study)[0].read_text()
    for design in load_study(study).front:
        assert f"| `{design.id}` |" in markdown
        assert design.id in {each["id"] for each in embedded(study)["front"]["designs"]}


def test_every_layer_stands_in_the_page_and_in_the_text(study: Path) -> None:
    markdown = write_report(study)[0].read_text()
    for name, _ in (layer for layers in LAYERS.values() for layer in layers):
        assert name in markdown
        assert f'"{name}"' in json.dumps(embedded(study)["details"])


def test_the_page_holds_the_study_unchanged(study: Path) -> None:
    write_report(study)
    data = embedded(study)
    for part, name in (("front", "front"), ("details", "details"), ("examples", "examples")):
        written = json.loads((study / f"{name}.json").read_text())
        assert within(written, data[part])


def within(written: Any, shown: Any) -> bool:
    """Whether everything that was written is shown as it is; what is unknown is left out there."""
    if isinstance(written, dict):
        return all(value is None or within(value, shown[key]) for key, value in written.items())
    if isinstance(written, list):
        return len(written) == len(shown) and all(map(within, written, shown))
    return written == shown


def test_the_page_refers_to_nothing_outside_itself(study: Path) -> None:
    page = Page(write_report(study)[1].read_text())
    assert [a for a in page.addresses if a and not a.startswith(("data:", "#"))] == []
    own = page.scripts[2]
    assert not re.search(r"https?://|@import|fetch\(|XMLHttpRequest|import\(", own)


def test_the_charting_library_is_the_one_that_its_readme_names() -> None:
    vendor = Path(report.__file__).parent / "template" / "vendor"
    known = hashlib.sha256((vendor / "echarts.min.js").read_bytes()).hexdigest()
    assert f"`{known}`" in (vendor / "README.md").read_text()
    assert "Apache License" in (vendor / "LICENSE").read_text()


def test_the_page_of_a_small_study_is_little_more_than_the_library(study: Path) -> None:
    assert write_report(study)[1].stat().st_size < 1_400_000


def test_a_study_of_5000_trials_and_hundreds_of_layers_stays_under_8_megabytes(study: Path) -> None:
    """60 designs of 300 layers; what is drawn at random compresses worse than a study does."""
    front, details = (json.loads((study / f"{name}.json").read_text()) for name in ("front", "details"))
    names = [f"model.layers.{i}.mlp.down_proj" for i in range(300)]
    details["tasks"]["rewrite"]["layers"] = [
        {"name": name, "kind": "linear", "macs": 10**7 + i, "parameters": 10**6} for i, name in enumerate(names)
    ]
    details["sensitivities"]["rewrite"] = {n: dict.fromkeys(CHOICES, i * 1e-07 / 3) for i, n in enumerate(names)}
    front["designs"] = [
        design | {"id": f"d{60 * i + k:08x}", "candidate": None}
        for i, design in enumerate(front["designs"])
        for k in range(5)
    ]
    for each, design in enumerate([*front["designs"], *details["baselines"]]):
        layer = design["cost"]["tasks"]["rewrite"]["layers"][0]
        design["cost"]["tasks"]["rewrite"] |= {
            "layers": [layer | {"name": n, "latency_s": (each + i) / 7e5} for i, n in enumerate(names)]
        }
        design["assignments"]["rewrite"] = {n: {"weight": "int8", "activation": "int8"} for n in names}
    for role in ("chosen", "worst"):
        details[role] = front["designs"][3]["id"]
    examples = json.loads((study / "examples.json").read_text())
    examples["rewrite"] = {"float": examples["rewrite"]["float"]}
    examples["restore"] = {"input": examples["restore"]["input"]}
    for name, data in (("front", front), ("details", details), ("examples", examples)):
        (study / f"{name}.json").write_text(json.dumps(data))
    write_trials(study)
    assert write_report(study)[1].stat().st_size < 8_000_000


def test_a_hostile_name_stays_a_name(tmp_path: Path) -> None:
    study = write_study(tmp_path, layer=HOSTILE, study=HOSTILE)
    page = Page(write_report(study)[1].read_text())
    assert page.tags.count("script") == 3
    assert HOSTILE in embedded(study)["front"]["designs"][0]["assignments"]["restore"]
    assert embedded(study)["front"]["study"] == HOSTILE


def test_a_bar_in_a_name_breaks_no_table(tmp_path: Path) -> None:
    markdown = write_report(write_study(tmp_path, layer="a|b"))[0].read_text()
    assert "a\\|b" in markdown
    for lines in re.findall(r"(?:^\|.*\n)+", markdown, flags=re.MULTILINE):
        assert len({len(re.split(r"(?<!\\)\|", line)) for line in lines.splitlines()}) == 1


def test_the_baselines_say_what_beats_them_or_why_nothing_does(study: Path) -> None:
    markdown = write_report(study)[0].read_text()
    beaten = {"uniform int8:int8": None, "uniform int4_g32:int8": None}
    beaten |= {"uniform fp8_e4m3:fp8_e4m3": "d00000003", "uniform mxfp4:mxfp8_e4m3": "d00000003"}
    for label, by in beaten.items():
        (row,) = (line for line in markdown.splitlines() if line.startswith(f"| {label} |"))
        assert ("all 5 of its best designs are dominated" if by else "3 of its 5 best stay undominated") in row
        assert re.findall(r"d\d{8}", row) == ([by] if by else [])


def test_the_example_rewrites_stand_side_by_side(study: Path) -> None:
    markdown, files = write_report(study)[0].read_text(), load_study(study)
    (row,) = (line for line in markdown.splitlines() if line.startswith("| send it now |"))
    for shown in ("float", files.record.chosen, files.record.worst):
        assert f"Could you send it, {shown}?" in row


def test_the_csv_has_a_row_per_design_and_the_objectives_in_full(study: Path) -> None:
    write_report(study)
    with (study / "front.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == DESIGNS
    for row, design in zip(rows, load_study(study).front, strict=True):
        assert {n: float(row[n]) for n, _ in OBJECTIVES} == design.objectives
        assert row["pairs"].split("+") == list(design.accelerator.pairs)


def test_designs_are_told_apart_by_their_formats(study: Path) -> None:
    markdown, files = write_report(study)[0].read_text(), load_study(study)
    with (study / "front.csv").open(newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    for design in files.front:
        counts = design.pairs("restore")
        assert rows[design.id]["restore.formats"].split(", ") == [f"{p} x{n}" for p, n in counts.most_common()]
        assert f"| {formats_words(design)} |" in markdown


def test_the_report_says_decibels_and_the_csv_the_stored_logarithm_with_its_unit(study: Path) -> None:
    markdown, files = write_report(study)[0].read_text(), load_study(study)
    (head,) = (
        line for line in markdown.splitlines() if line.startswith("| design | restore") and "formats of most" in line
    )
    assert "restore: against float, higher is better" in head
    design, goal = files.front.designs[0], files.front.objectives[0]
    (row,) = (line for line in markdown.splitlines() if line.startswith(f"| `{design.id}` | "))
    assert f"{-10 * design.objectives[goal.name]:.2f} dB" in row
    named = {"restore.quality": "log10 MSE"}
    changed = files.front.model_copy(
        update={
            "objectives": tuple(
                g.model_copy(update={"unit": named.get(g.name, g.unit)}) for g in files.front.objectives
            )
        }
    )
    (stored, *_) = csv.DictReader(front_csv(dataclasses.replace(files, front=changed)).splitlines())
    assert float(stored["restore.quality (log10 MSE)"]) == design.objectives[goal.name]


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_folder_that_is_no_study_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        load_study(tmp_path)
    assert "no study here" in one_line(error)


@pytest.mark.parametrize("name", ["details.json", "examples.json"])
def test_a_missing_file_is_named(study: Path, name: str) -> None:
    (study / name).unlink()
    with pytest.raises(InputError) as error:
        load_study(study)
    assert name in one_line(error)


@pytest.mark.parametrize("name", ["front.json", "details.json", "examples.json"])
def test_broken_json_is_reported_with_its_line(study: Path, name: str) -> None:
    (study / name).write_text('{\n "a": 1,\n oops\n}')
    with pytest.raises(InputError) as error:
        load_study(study)
    assert f"{name}:3: broken JSON" in one_line(error)


@pytest.mark.parametrize("content", ['{"schema_version": 3}', "[]", "{}"])
def test_another_schema_version_is_refused(study: Path, content: str) -> None:
    (study / "front.json").write_text(content)
    with pytest.raises(InputError) as error:
        load_study(study)
    assert "schema_version" in one_line(error)


def test_a_missing_key_is_named(study: Path) -> None:
    front = json.loads((study / "front.json").read_text())
    del front["designs"][2]["cost"]
    (study / "front.json").write_text(json.dumps(front))
    with pytest.raises(InputError) as error:
        load_study(study)
    assert "designs[2].cost" in one_line(error)


@pytest.mark.parametrize(
    ("name", "key", "value", "said"),
    [
        ("front.json", "designs", [], "holds no design"),
        ("front.json", "designs", 3, "holds no design"),
        ("front.json", "front_size", None, "key 'front_size' is missing"),
        ("details.json", "hardware_count", None, "key 'hardware_count' is missing"),
        ("details.json", "chosen", "d99999999", "chosen 'd99999999' is no design"),
    ],
)
def test_a_damaged_study_is_described(study: Path, name: str, key: str, value: Any, said: str) -> None:
    data = json.loads((study / name).read_text()) | {key: value}
    if value is None:
        del data[key]
    (study / name).write_text(json.dumps(data))
    with pytest.raises(InputError) as error:
        load_study(study)
    assert said in one_line(error)


def test_a_study_of_schema_version_1_is_read(study: Path) -> None:
    """It says of no design whether it is told apart and which candidate it is, of no network what its quality is."""
    front = json.loads((study / "front.json").read_text())
    front["schema_version"] = 1
    for design in front["designs"]:
        del design["candidate"]
    (study / "front.json").write_text(json.dumps(front))
    files = load_study(study)
    assert (len(files.front), files.hardware, files.front.tasks) == (DESIGNS, True, {})
    assert all(design.told_apart and design.candidate is None for design in files.front)
    assert all(path.stat().st_size for path in write_report(study))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["cost"].update(area_mm2="large"), "designs[2].cost.area_mm2: Input should be a valid number"),
        (lambda d: d.update(objectives={}), "designs[2].objectives: Dictionary should have at least 1 item"),
        (lambda d: d["assignments"].update(restore=7), "designs[2].assignments.restore: expected {layer:"),
        (lambda d: d.update(colour="red"), "designs[2].colour: Extra inputs are not permitted"),
    ],
)
def test_a_value_that_is_none_is_named_with_its_place(study: Path, change: Any, said: str) -> None:
    front = json.loads((study / "front.json").read_text())
    change(front["designs"][2])
    (study / "front.json").write_text(json.dumps(front))
    with pytest.raises(InputError) as error:
        load_study(study)
    assert said in one_line(error)


def test_a_text_of_several_lines_stays_in_its_row(study: Path) -> None:
    examples = json.loads((study / "examples.json").read_text())
    examples["rewrite"]["float"][0]["source"] = "first\nsecond"
    (study / "examples.json").write_text(json.dumps(examples))
    assert "| first second |" in write_report(study)[0].read_text()


def test_a_folder_that_refuses_writing_is_an_environment_problem(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("codesign.files.Path.replace", refuse)  # as root, no folder refuses
    with pytest.raises(EnvironmentProblem) as error:
        write_report(study)
    assert "cannot be written (Permission denied)" in one_line(error)


def test_how_weights_are_rounded_stands_in_the_text(study: Path) -> None:
    text = write_report(study)[0].read_text()
    assert " x mxfp4:mxfp8_e4m3+gptq" in text
    assert "to the nearest of the format. +gptq: such scales" in text


def test_what_the_accumulators_lose_stands_in_the_text(study: Path) -> None:
    text = write_report(study)[0].read_text()
    assert "keep every sum to 60 dB in " in text
    assert "3 designs below 30 dB were left out" in text
    assert "Accumulator, the worst layer's sums over their error: restore: " in text
