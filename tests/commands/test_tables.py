"""Tables print names as they are and stay readable on a narrow terminal; a stage says the time that is left."""

from __future__ import annotations

import pytest

from codesign.commands.output import print_table
from codesign.commands.progress import TimeLeft


def test_markup_in_names_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("[red]title[/red]", ["[b]column"], [["[red]layer[/red]"], ["<script>"], [":smile:"], ["[/nothing]"]])
    printed = capsys.readouterr().out
    for text in ("[red]title[/red]", "[b]column", "[red]layer[/red]", "<script>", ":smile:", "[/nothing]"):
        assert text in printed


def test_a_narrow_terminal_gets_lists(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    print_table("formats", ["", "bits", "largest"], [["int8", "8", "127"], ["mxfp4", "4.25", "6"]])
    assert capsys.readouterr().out.splitlines() == [
        *("formats", "- int8", "  bits: 8", "  largest: 127"),
        *("- mxfp4", "  bits: 4.25", "  largest: 6"),
    ]


def test_the_time_left_is_that_of_the_steps_so_far() -> None:
    left = TimeLeft()
    assert left.after(1, 11, 100.0) == ""
    assert left.after(2, 11, 104.0) == ", 36 s left"
    assert left.after(3, 11, 160.0) == ", 4 min left"
    assert left.after(11, 11, 200.0) == ""


def test_steps_of_an_earlier_run_come_all_at_once_and_do_not_count() -> None:
    left = TimeLeft()
    for done in range(1, 101):
        assert left.after(done, 110, 50.0 + done * 1e-4) == ""
    assert left.after(101, 110, 60.01) == ", 90 s left"
