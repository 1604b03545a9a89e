"""The command line: what a user types, what comes back, and one line for each mistake."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from codesign.cli import main
from codesign.hardware import presets
from codesign.workload import workload_names
from tests import SPACE

MISTAKES = {
    "unknown format": (
        ("pairs: [int8, mxfp4]", "pairs: [int8, mxpf4]"),
        r"space.yaml:5: .*mxpf4.*did you mean 'mxfp4'",
    ),
    "layer glob that matches nothing": (
        ('"python:tests.tiny:task"}', '"python:tests.tiny:task", layers: {"to_w": [int8]}}'),
        r"space.yaml:4: layer pattern 'to_w' matches no layer of tiny; did you mean 'to_",
    ),
    "pair that no unit supports": (
        ("[int8, mxfp4]\nhard", "[int8, mxfp4, fp8_e4m3]\nhard"),
        r"space.yaml:5: .*no unit .* fp8_e4m3",
    ),
    "negative size": (("rows: [2, 4]", "rows: [2, -4]"), r"space.yaml:8: hardware.rows.1: .*greater than 0"),
    "unknown key": (("rows: [2, 4]", "row: [2, 4]"), r"space.yaml:8: unknown key 'hardware.row'.*rows"),
    "unknown objective": (("tiny.quality, area", "tiny.qualty, area"), r"space.yaml:11: .*did you mean 'tiny.quality'"),
    "unknown task": (
        ("python:tests.tiny:task", "restor"),
        r"space.yaml:4: unknown task 'restor'; did you mean 'restore'",
    ),
    "missing function": (("tests.tiny:task", "tests.tiny:tsak"), r"no function 'tsak'; did you mean 'task'"),
    "broken YAML": (("pairs: [int8, mxfp4]", "pairs: [int8, mxfp4"), r"space.yaml:\d+: broken YAML"),
    "NaN in weights": (("tests.tiny:task", "tests.tiny:broken"), r"weight 'head.weight' holds NaN"),
    "unknown DRAM": (("sram_kib: [4]", "sram_kib: [4]\n  dram: [lpddr7]"), r"lpddr7"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_with_its_place(
    mistake: str, space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (old, new), pattern = MISTAKES[mistake]
    assert old in SPACE
    space.write_text(SPACE.replace(old, new))
    code = main(["search", str(space), "--out", str(tmp_path / "out")])
    error = capsys.readouterr().err.strip()
    assert code == 2
    assert len(error.splitlines()) == 1, error
    assert re.search(pattern, error), error


def test_missing_file_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "nowhere.yaml"]) == 2
    assert capsys.readouterr().err.strip() == "codesign: error: nowhere.yaml: no such file"


def test_unwritable_output_is_an_environment_error(
    space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("a file is no folder, for root neither")
    assert main(["search", str(space), "--out", str(tmp_path / "file" / "out")]) == 3
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.slow
def test_search_writes_front_and_report(space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["search", str(space), "--out", str(out), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    for key in ("front", "trials", "markdown", "html"):
        assert Path(result[key]).stat().st_size > 0
    assert 2 <= result["evaluations"] <= 4  # fewer when nothing unmeasured could enlarge the front
    assert main(["report", str(out), "--json"]) == 0


def test_validate_and_explain_agree(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(space), "--json"]) == 0
    valid = json.loads(capsys.readouterr().out)
    assert main(["explain", str(space), "--json"]) == 0
    explained = json.loads(capsys.readouterr().out)
    assert valid["accelerators"] == explained["accelerators"] == 6
    assert valid["layers"]["tiny"] == len(explained["layers"]["tiny"]) == 6


def test_cost_has_the_contract_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "--workload", "clip-l-text", "--accelerator", "phone-npu-medium", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    wanted = "parameters macs area_mm2 latency_s energy_j dram_bytes dram_capacity_bytes layers components"
    assert set(wanted.split()) <= set(result)
    assert result["parameters"] == 123_060_480
    start = result["graph_start_s"]  # beside the latency, not in it
    assert 0 < start["low"] < start["value"] < start["high"] < 0.01


def test_cost_with_listed_axes_has_a_row_for_each_combination_as_if_it_were_priced_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chip, table = tmp_path / "chip.yaml", tmp_path / "rows.csv"
    good = presets()["phone-npu-medium"].read_text()
    chip.write_text(good.replace("node_nm: 5", "node_nm: 7").replace("sram_kib: 4096", "sram_kib: 2048"))
    cost = ["cost", "--workload", "clip-l-text", "--json"]
    varied = ["--set", "node_nm=4,7", "--set", "sram_kib=1024,2048", "--csv", str(table)]
    assert main([*cost, "--accelerator", "phone-npu-medium", *varied]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {(row["node_nm"], row["sram_kib"]) for row in rows} == {(4, 1024), (4, 2048), (7, 1024), (7, 2048)}
    assert main([*cost, "--accelerator", str(chip)]) == 0
    alone = json.loads(capsys.readouterr().out)
    (same,) = [row for row in rows if (row["node_nm"], row["sram_kib"]) == (7, 2048)]
    for key in ("area_mm2", "area_high_mm2", "latency_s", "energy_j", "dram_bytes"):
        assert same[key] == pytest.approx(alone[key])
    with table.open() as file:
        assert [row["sram_kib"] for row in csv.DictReader(file)] == ["1024.0", "1024.0", "2048.0", "2048.0"]


def test_a_combination_that_cannot_run_the_network_has_no_figures_and_a_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["cost", "--workload", "llama3.2-1b", "--accelerator", "phone-npu-medium", "--set", "dram_gib=0.5,6"]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["latency_s"] is None for row in found["rows"]] == [True, False]
    assert "GiB too much" in found["problem"]
    assert main(command) == 0
    assert "1 of 2 combinations cannot run it" in capsys.readouterr().out


def test_cost_of_an_unknown_network_offers_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "--workload", "sd15-unte", "--accelerator", "phone-npu-medium"]) == 2
    assert "sd15-unet" in capsys.readouterr().err


def test_cost_takes_the_options_of_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    found = []
    for name in ("clip-l-text", "clip-l-text:batch=2"):
        assert main(["cost", "--workload", name, "--accelerator", "phone-npu-medium", "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[1]["macs"] == 2 * found[0]["macs"]
    assert found[1]["latency_s"] > found[0]["latency_s"]


@pytest.mark.parametrize("written", ["clip-l-text:prompt=0", "clip-l-text:image=512", "clip-l-text:prompt"])
def test_a_bad_option_of_a_network_is_one_line(written: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "--workload", written, "--accelerator", "phone-npu-medium"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("codesign: error: clip-l-text")
    assert error.count("\n") == 1


def test_workloads_lists_every_network_with_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["workloads", "--json"]) == 0
    rows = {r["name"]: r for r in json.loads(capsys.readouterr().out)["workloads"]}
    assert set(rows) == set(workload_names())
    assert rows["sd15-unet"]["parameters"] == 859_520_964
    assert rows["sd15-unet"]["options"] == {"batch": "1", "image": "512", "steps": "50", "guidance": "off"}


def test_workloads_counts_a_network_with_the_options_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["workloads", "clip-l-text:batch=3", "clip-l-text", "--json"]) == 0
    three, one = json.loads(capsys.readouterr().out)["workloads"]
    assert three["name"] == "clip-l-text:batch=3"
    assert three["gmacs"]["forward"] == pytest.approx(3 * one["gmacs"]["forward"], rel=1e-3)


@pytest.mark.slow
def test_formats_table_has_bits_sqnr_and_area(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["formats", "int8", "fp8_e4m3", "mxfp4", "--json"]) == 0
    rows = {r["format"]: r for r in json.loads(capsys.readouterr().out)["formats"]}
    assert rows["mxfp4"]["bits_per_element"] == pytest.approx(4.25)
    assert rows["mxfp4"]["area_over_int8"] < 1 < rows["fp8_e4m3"]["area_over_int8"]
    assert rows["mxfp4"]["sqnr_db"]["weights"] < rows["int8"]["sqnr_db"]["weights"]


@pytest.mark.slow
def test_evaluate_reports_the_interval(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--task", "python:tests.tiny:task", "--formats", "mxfp4", "--json"]) == 0
    (metric,) = json.loads(capsys.readouterr().out)["metrics"]
    assert metric["low"] < metric["value"] < metric["high"]


def test_evaluate_refuses_a_broken_assignment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "assignment.json"
    file.write_text('{"conv": {"weight": "int8",')
    assert main(["evaluate", "--task", "python:tests.tiny:task", "--assignment", str(file)]) == 2
    assert "assignment.json:1: broken JSON" in capsys.readouterr().err


def test_an_unknown_format_of_an_assignment_is_named_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "assignment.json"
    file.write_text('{\n "conv": {"weight": "int8", "activation": "int8"},\n "head": {\n  "weight": "int4"}\n}')
    assert main(["evaluate", "--task", "python:tests.tiny:task", "--assignment", str(file)]) == 2
    assert "assignment.json:3: layer 'head': key 'activation' is missing" in capsys.readouterr().err
    file.write_text(file.read_text().replace('"int4"', '"itn4", "activation": "int8"'))
    assert main(["evaluate", "--task", "python:tests.tiny:task", "--assignment", str(file)]) == 2
    assert "assignment.json:4: layer 'head': weight: unknown format 'itn4'; did you mean" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        "search",
        "evaluate",
        "cost",
        "workloads",
        "formats",
        "validate",
        "explain",
        "report",
        "export",
        "reference",
        "transfer",
        "tune",
    ],
)
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert f"examples:\n  codesign {command}" in text
    assert "--json" in text


@pytest.mark.slow
def test_module_and_console_script_print_the_same() -> None:
    root = Path(__file__).parents[2]
    script = Path(sys.executable).with_name("codesign")
    outputs = [
        subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, env=os.environ).stdout
        for command in ([sys.executable, "-m", "codesign", "--version"], [str(script), "--version"])
    ]
    assert outputs[0] == outputs[1] != ""
