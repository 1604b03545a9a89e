"""The line of a key in a JSON file, and what is no JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codesign.errors import InputError
from codesign.jsonio import line_of, read_json

TEXT = """\
{
 "a": [
  {"b": 1, "c": "x: {"},
  {"b": [2,
    3]}
 ],
 "b": {"a": "\\"b\\":"}, "d": 4
}
"""


@pytest.mark.parametrize(
    ("location", "line"),
    [((), 1), (("a",), 2), (("a", 0), 3), (("a", 1, "b"), 4), (("a", 1, "b", 1), 5), (("b", "a"), 7), (("d",), 7)],
)
def test_the_line_of_a_key(location: tuple[str | int, ...], line: int) -> None:
    json.loads(TEXT)
    assert line_of(TEXT, *location) == line


def test_the_line_of_a_key_that_is_absent_is_its_parents() -> None:
    assert line_of(TEXT, "a", 1, "z") == 4
    assert line_of(TEXT, "z") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ":1: broken JSON"),
        ("[" * 5000, "nested too deeply"),
        ("9" * 5000, "thousands of digits"),
        ("[-Infinity]", "-Infinity is no number of JSON"),
        ('{"a": {"b": 1, "b": 2}}', "key 'b' is written twice"),
    ],
)
def test_what_is_no_json_is_one_line(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError) as error:
        read_json(tmp_path / "a.json")
    assert str(error.value).startswith(f"{tmp_path / 'a.json'}:")
    assert said in str(error.value)
