"""The time that a stage has left."""

from __future__ import annotations

from codesign.commands.output import TimeLeft


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
