"""Boolean functions in Liberty's notation."""

from __future__ import annotations

import numpy as np
import pytest

from codesign.hardware.calibration.liberty.logic import parse_expression


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("!A", lambda a, b, c: not a),
        ("A'", lambda a, b, c: not a),
        ("(A + B)'", lambda a, b, c: not (a or b)),
        ("A B + C", lambda a, b, c: (a and b) or c),
        ("A * !B | C", lambda a, b, c: (a and not b) or c),
        ("A & B ^ C", lambda a, b, c: a and (b != c)),
        ("!(A ^ B) C", lambda a, b, c: (a == b) and c),
        ("!A'", lambda a, b, c: a),
        ("A + 1", lambda a, b, c: True),
        ("A (B + 0)", lambda a, b, c: a and b),
    ],
)
def test_every_notation_has_the_truth_table_that_liberty_gives_it(text: str, expected) -> None:
    table = parse_expression(text).truth_table(("A", "B", "C"))
    wanted = tuple(int(bool(expected(i >> 2 & 1, i >> 1 & 1, i & 1))) for i in range(8))
    assert table == wanted


@pytest.mark.parametrize("text", ["", "A +", "(A", "A ) B", "A % B", "*A"])
def test_what_is_no_function_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"boolean|parenthesis"):
        parse_expression(text)


def test_arrays_of_words_are_evaluated_bit_by_bit() -> None:
    ones = np.uint64(2**64 - 1)
    words = {"A": np.array([0b1100], dtype=np.uint64), "B": np.array([0b1010], dtype=np.uint64)}
    assert parse_expression("A ^ B").compiled(ones)(words) == 0b0110
    assert parse_expression("!(A * 1)").compiled(ones)(words) == ones ^ np.uint64(0b1100)
