"""Tables print names as they are and stay readable on a narrow terminal; a stage says the time that is left."""

from __future__ import annotations

import pytest

from codesign.commands.output import print_table
from codesign.commands.progress import TimeLeft
from codesign.human import human


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.25, "count", "0.25"), (860e6, "count", "860 M"), (0.0021, "s", "2.1 ms"), (2.5, "mm2", "2.5 mm2")],
)
def test_quantities_have_prefixes_and_shares_have_none(value: float, unit: str, text: str) -> None:
    assert human(value, unit) == text


def test_markup_in_names_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("[red]title[/red]", ["[b]column"], [["[red]layer[/red]"], ["<script>"], [":smile:"], ["[/nothing]"]])
    printed = capsys.readouterr().out
    for text in ("[red]title[/red]", "[b]column", "[red]layer[/red]", "<script>", ":smile:", "[/nothing]"):
        assert text in printed


def test_a_narrow_terminal_gets_lists(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "19")
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes the output for a terminal
    print_table("formats", ["", "bits", "largest"], [["int8", "8", "127"], ["mxfp4", "4.25", "6"]])
    assert capsys.readouterr().out.splitlines() == [
        *("formats", "- int8", "  bits: 8", "  largest: 127"),
        *("- mxfp4", "  bits: 4.25", "  largest: 6"),
    ]


WIDE = [["mxfp8_e4m3", "8.25 bits of a number, a share of its scale included"], ["int8", "8"]]


def test_a_table_in_a_pipe_is_plain_text_whatever_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "19")
    print_table("formats", ["format", "bits"], [["mxfp8_e4m3", "8.25"], ["x" * 60, "4"]])
    title, head, rule, first, second, _ = capsys.readouterr().out.splitlines()
    assert title == "formats"
    assert head.split() == ["format", "bits"]
    assert rule.split() == ["-" * 60, "-" * 4]
    assert first.split() == ["mxfp8_e4m3", "8.25"]
    assert second == f"{'x' * 60}     4"


def test_a_table_in_a_pipe_is_at_most_100_characters_wide_and_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    texts = [
        "the array takes a quarter of the chip, and only it grows with its control " * 2,
        "encoder.blocks.0.conv" * 5,
    ]
    rows = [[text, "8.19 k", "1.27 to 11.8"] for text in texts]
    print_table("chips", ["what it is", "MACs per cycle", "interval of the area"], rows)
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 100
    assert printed.count("8.19 k") == printed.count("1.27 to 11.8") == 2
    body = printed.split("-\n")[-1]
    first = "".join(body.replace("8.19 k", "").replace("1.27 to 11.8", "").split())
    assert first == "".join("".join(texts).split())


def test_where_no_break_makes_a_table_fit_rows_are_lists(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("names", ["name", "bits"], [["x" * 200, "4"]])
    assert capsys.readouterr().out.splitlines() == ["names", f"- name: {'x' * 200}", "  bits: 4"]


def test_columns_of_numbers_are_aligned_on_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("t", ["name", "a number", "a text"], [["x", "1.25 mm", "bits"], ["y", "-3", "a"]])
    assert capsys.readouterr().out.splitlines()[3:5] == ["x      1.25 mm  bits", "y           -3  a"]


@pytest.mark.parametrize("width", [30, 60, 70, 100])
def test_no_cell_is_broken_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes the output for a terminal
    print_table("formats", ["format", "bits"], WIDE)
    printed = capsys.readouterr().out
    for row in WIDE:
        for cell in row:
            assert cell in printed
    assert ("│" in printed) == (width >= 70)


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


def test_the_speed_is_that_of_the_steps_that_were_made_now() -> None:
    timed = TimeLeft()
    assert timed.rate() == ""
    timed.after(10, 40, 100.0)
    assert timed.rate() == ""
    timed.after(13, 40, 109.0)
    assert timed.rate() == ", 20 a minute"
