"""``codesign formats``: table, CSV and picture."""

from __future__ import annotations

import csv
import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from codesign.cli import main
from codesign.report.format_plot import front

NAMES = ["int8", "int4", "fp8_e4m3", "mxfp4"]


def test_the_picture_and_the_table_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plot, table = tmp_path / "formats.svg", tmp_path / "formats.csv"
    assert main(["formats", *NAMES, "--plot", str(plot), "--csv", str(table)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-2:] == [str(plot), str(table)]
    drawn = "".join(ET.parse(plot).getroot().itertext())
    text = plot.read_text()
    assert all(f"<!-- {name} -->" in text for name in [*NAMES, "fp16"]), drawn
    rows = list(csv.DictReader(table.open()))
    assert [row["format"] for row in rows] == [*NAMES, "fp16", "fp32"]
    assert float(rows[0]["area_over_int8"]) == 1.0
    assert float(rows[1]["area_over_int8"]) < 0.5


@pytest.mark.slow
def test_the_same_picture_is_the_same_file(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        assert main(["formats", "int8", "int4", "--plot", str(tmp_path / name)]) == 0
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_products_carry_both_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["formats", "int8", "--json"]) == 0
    sqnr = json.loads(capsys.readouterr().out)["formats"][0]["sqnr_db"]
    both = 10 ** (-sqnr["weights"] / 10) + 10 ** (-sqnr["activations"] / 10)
    assert 10 ** (-sqnr["products"] / 10) == pytest.approx(both)


def test_fp16_and_fp32_units_stand_in_every_table_and_fp32_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["formats", "fp16", "--dot", "4", "--json"]) == 0
    half, single = json.loads(capsys.readouterr().out)["formats"]
    assert (half["format"], single["format"]) == ("fp16", "fp32")
    assert single["sqnr_db"] == {"weights": None, "activations": None, "products": None}
    assert single["area_over_int8"] > 2 * half["area_over_int8"] > 2


def test_the_front_is_what_nothing_cheaper_beats() -> None:
    assert front([3.0, 1.0, 2.0, 1.0, 4.0], [30.0, 10.0, 10.0, 5.0, 29.0]) == [1, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--plot", "formats.svgg"], "draws .svg, .png, .pdf, not '.svgg'; did you mean '.svg'"),
        (["--plot", "formats"], "draws .svg, .png, .pdf"),
        (["int8", "--all"], "name none beside it"),
        (["int9x"], "unknown format 'int9x'"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["formats", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_without_matplotlib_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["formats", "int8", "--plot", "a.svg"]) == 3
    assert "pip install 'codesign[plot]'" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["formats", "int8", "--plot", str(tmp_path / "file" / "a.svg")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert main(["formats", "int8", "--csv", "/dev/full"]) == 3
    assert "/dev/full: cannot be written" in capsys.readouterr().err
    assert not Path("/dev/full").is_file()
