"""``codesign ask``: questions are listed with their options, and each answer is a table, JSON or a page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codesign.answers.registry import QUESTIONS
from codesign.cli import main

# the smallest form of a question: one format, a small network
SMALL = ["ask", "smallest-chip", "network=clip-l-text", "formats=int8", "seconds=0.01"]


def test_ask_alone_lists_every_question_with_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", "--json"]) == 0
    listed = {question["name"]: question for question in json.loads(capsys.readouterr().out)["questions"]}
    assert set(listed) == set(QUESTIONS)
    assert {option["name"] for option in listed["smallest-chip"]["options"]} >= {"network", "seconds", "formats"}
    assert all(option["meaning"] for question in listed.values() for option in question["options"])


def test_the_json_of_an_answer_has_its_command_figures_and_estimates(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["command"] == "codesign ask smallest-chip formats=int8 network=clip-l-text seconds=0.01"
    (row,) = found["tables"][0]["rows"]
    assert row["area_low_mm2"] < row["area_mm2"] < row["area_high_mm2"]
    assert row["latency_s"] <= 0.01
    assert {estimate["figure"] for estimate in found["estimates"]} >= {"MACs per cycle (int8)", "SRAM (int8)"}


def test_prose_ends_within_a_hundred_characters_and_goes_on_below_its_mark(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(SMALL) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    assumptions = lines[lines.index("assumptions") + 1 :]
    assert {line[:2] for line in assumptions} == {"- ", "  "}


def test_a_page_names_the_command_that_made_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    assert main([*SMALL, "-o", str(page)]) == 0
    text = page.read_text()
    assert "`codesign ask smallest-chip formats=int8 network=clip-l-text seconds=0.01`" in text
    assert text.count("\n## ") == 4  # the table, by hand, what bounds it, assumptions
    assert str(page) in capsys.readouterr().out
