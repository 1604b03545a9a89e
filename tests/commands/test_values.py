"""The values of options, as argparse reads them."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path

import pytest

from codesign.commands.values import duration, folder, positive, seed, whole


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (whole, "0", 0),
        (whole, "-0", 0),
        (whole, "007", 7),
        (whole, "9" * 18, 10**18 - 1),
        (positive, "1", 1),
        (seed, "0", 0),
        (seed, "4294967295", 2**32 - 1),
        (duration, "0", 0.0),
        (duration, "90", 90.0),
        (duration, "2.5s", 2.5),
        (duration, "20m", 1200.0),
        (duration, "6h", 21600.0),
        (duration, "2d", 172800.0),
        (folder, "runs/today", Path("runs/today")),
        (folder, " runs", Path(" runs")),
    ],
)
def test_what_is_accepted(read: Callable[[str], object], text: str, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text", "why"),
    [
        (whole, "-1", "a whole number of at least 0, not '-1'"),
        (whole, "1.0", "a whole number of at least 0, not '1.0'"),
        (whole, "9" * 19, "a whole number of at least 0, not '9999999999999999999'"),
        (whole, "x" * 30, f"a whole number of at least 0, not '{'x' * 20}'"),
        (positive, "0", "a whole number of at least 1, not '0'"),
        (positive, "none", "a whole number of at least 1, not 'none'"),
        (seed, "-1", "a whole number of at least 0, not '-1'"),
        (seed, "4294967296", "a whole number from 0 to 4294967295, not '4294967296'"),
        (seed, "10000000000", "a whole number from 0 to 4294967295, not '10000000000'"),
        (seed, "9" * 30, f"a whole number from 0 to 4294967295, not '{'9' * 20}'"),
        (duration, "6w", "a time such as 90s, 20m or 6h, not '6w'"),
        (duration, "-6h", "a time such as 90s, 20m or 6h, not '-6h'"),
        (duration, "", "a time such as 90s, 20m or 6h, not ''"),
        (folder, "", "a folder, not an empty name"),
        (folder, " ", "a folder, not an empty name"),
    ],
)
def test_what_is_refused_is_said_with_what_was_expected(read: Callable[[str], object], text: str, why: str) -> None:
    with pytest.raises(ArgumentTypeError) as refused:
        read(text)
    assert str(refused.value) == f"expected {why}"
