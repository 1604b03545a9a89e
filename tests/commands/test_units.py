"""``codesign mac`` and ``codesign rtl``."""

from __future__ import annotations

import json
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


def test_mac_says_that_a_very_long_dot_is_an_extrapolation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mac", "int8", "int8", "--dot", "64"]) == 0
    assert "extrapolation" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mac", "int8", "fp9"], "unknown format 'fp9'"),
        (["mac", "int8", "int8", "--node", "2"], "3 to 45"),
        (["mac", "bf16", "bf16", "--accumulator", "exact"], "take fp32"),
        (["mac", "int8", "int8", "--dot", "3"], "power of two"),
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
    assert {"unit.v", "checks.v", "bench.v", "main.cpp", "README.txt"} <= {path.name for path in out.iterdir()}
