"""``codesign mac`` and ``codesign rtl``."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from codesign.cli import main
from tests.programs import needed


def test_mac_gives_area_delay_and_energy_with_intervals(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mac", "int8", "int8", "--dot", "16", "--node", "7", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    for key in ("area_um2", "delay_ns", "energy_pj"):
        assert 0 < result[key]["low"] < result[key]["value"] < result[key]["high"]


def test_mac_gives_a_format_per_token_the_figures_of_the_plain_format(capsys: pytest.CaptureFixture[str]) -> None:
    found = []
    for activation in ("int8", "int8_token"):
        assert main(["mac", "int8", activation, "--dot", "4", "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0] == found[1]


def test_mac_prices_float_units_of_the_same_size_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mac", "fp16", "fp16", "--accumulator", "fp32", "--dot", "4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    half, single = found["baselines"]
    assert half == {
        "pair": "fp16:fp16",
        "accumulator": "fp32",
        **{key: found[key] for key in ("area_um2", "delay_ns", "energy_pj")},
    }
    assert single["pair"] == "fp32:fp32"
    assert single["area_um2"]["value"] > 2 * half["area_um2"]["value"]


def test_mac_splits_the_area_into_sections_of_the_datapath(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mac", "nvfp4", "nvfp4", "--dot", "16", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    sections = found["area_um2_by_section"]
    assert list(sections) == ["multipliers", "alignment", "tree", "scales", "accumulator", "registers"]
    assert sum(sections.values()) == pytest.approx(found["area_um2"]["value"])


def test_fast_floats_run_narrow_minifloats_at_a_multiple_of_the_rate_of_wide_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = ["mac", "fp16", "fp16", "--also", "fp8_e4m3", "mxfp4", "fp6_e2m3", "--dot", "4", "--json"]
    rates = []
    for options in ([], ["--fast-floats"]):
        assert main([*asked, *options]) == 0
        found = json.loads(capsys.readouterr().out)
        rates.append({mode["pair"].split(":")[0]: mode["products_per_cycle"] for mode in found["modes"]})
    assert rates[0] == {"fp16": 4, "fp8_e4m3": 4, "mxfp4": 4, "fp6_e2m3": 4}
    assert rates[1] == {"fp16": 4, "fp8_e4m3": 8, "mxfp4": 16, "fp6_e2m3": 8}


@pytest.mark.slow
def test_mac_says_that_a_very_long_dot_is_an_extrapolation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mac", "int8", "int8", "--dot", "64"]) == 0
    assert "extrapolation" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mac", "int8", "fp9"], "unknown format 'fp9'"),
        (["mac", "int8", "int8", "--node", "2"], "3 to 45"),
        (["mac", "bf16", "bf16", "--accumulator", "exact"], "take fp32"),
        (["mac", "int8", "int8", "--dot", "300"], "whole number"),
        (["rtl", "int8:fp9", "-o", "out"], "unknown format 'fp9'"),
        (["rtl", "fp8_e4m3", "--accumulator", "int32", "-o", "out"], "holds integers"),
    ],
)
def test_a_mistake_is_one_clear_line(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_requantizer_is_written_beside_the_unit_and_checked_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    needed("iverilog")
    asked = ["rtl", "int8", "--vectors", "20", "--requantize", "int4_token", "--check", "iverilog"]
    assert main([*asked, "--json", "-o", str(tmp_path)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["requantize"] == "int4_token"
    assert result["requantize_wrong"] == [0, 0, 0]
    assert min(result["requantize_steps"]) >= 1000
    text = (tmp_path / "unit_requantize.v").read_text()
    (tmp_path / "unit_requantize.v").write_text(text.replace("10'h200", "10'h1ff"))  # halves every quotient
    files = ["bench.v", "checks.v", "unit.v", "unit_stream.v", "unit_requantize.v"]
    subprocess.run(["iverilog", "-g2005", "-o", "bench.vvp", *files], cwd=tmp_path, check=True, capture_output=True)
    assert subprocess.run(["vvp", "-n", "bench.vvp"], cwd=tmp_path, capture_output=True).returncode == 1


@pytest.mark.slow
def test_rtl_writes_a_unit_that_passes_its_own_bench(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    needed("iverilog")
    out = tmp_path / "unit"
    arguments = [
        "rtl",
        "int8",
        "int4",
        "--dot",
        "2",
        "-o",
        str(out),
        "--vectors",
        "200",
        "--check",
        "iverilog",
        "--json",
    ]
    assert main(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["wrong"] == [0, 0]
    assert result["products_per_cycle"] == [8, 2]  # int4 four times as fast, in the order of names
    assert result["stream_wrong"] == [0, 0]
    files = {"unit.v", "unit_stream.v", "unit_params.vh", "checks.v", "bench.v", "main.cpp", "README.txt"}
    assert files <= {path.name for path in out.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("simulator", ["iverilog", "verilator"])
def test_a_bench_with_a_wrong_result_exits_with_one(tmp_path: Path, simulator: str) -> None:
    needed(simulator)
    asked = ["rtl", "int8", "--dot", "6", "--name", "mac6", "--vectors", "50", "--check", simulator]
    assert main([*asked, "-o", str(tmp_path)]) == 0
    bench = ["vvp", "-n", "bench.vvp"] if simulator == "iverilog" else ["obj_dir/Vchecks"]
    assert subprocess.run(bench, cwd=tmp_path, check=False).returncode == 0
    vectors = tmp_path / "vectors_0.hex"
    lines = vectors.read_text().splitlines()
    place = len(lines[20]) - 110 // 4  # within the expected sum, which stands above the operands
    lines[20] = lines[20][:place] + ("5" if lines[20][place] != "5" else "a") + lines[20][place + 1 :]
    vectors.write_text("\n".join(lines) + "\n")
    done = subprocess.run(bench, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "1 wrong" in done.stdout


def test_what_is_written_is_what_was_priced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--dot", "12", "--node", "130", "--clock", "0.2", "--json"]
    assert main(["mac", "int8", "int8", *options]) == 0
    priced = json.loads(capsys.readouterr().out)
    assert main(["rtl", "int8", "--name", "mac12", "--vectors", "10", "-o", str(tmp_path), *options]) == 0
    written = json.loads(capsys.readouterr().out)
    assert [written[key] for key in ("area_um2", "delay_ns", "reached_ghz")] == [
        priced[key] for key in ("area_um2", "delay_ns", "reached_ghz")
    ]
    assert "module mac12" in (tmp_path / "mac12.v").read_text()
    assert f"{priced['area_um2']['value']:.4g} um2" in (tmp_path / "README.txt").read_text()


def test_a_clock_that_no_cut_reaches_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mac", "fp8_e4m3", "fp8_e4m3", "--dot", "16"]) == 0
    assert "cut for 1 GHz, reaches 0." in capsys.readouterr().out
