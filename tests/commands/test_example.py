"""A command takes a search space by its path as well as by the name of an example (tests/spaces)."""

from __future__ import annotations

from pathlib import Path

from codesign.arguments import parser_of_commands


def test_a_file_is_taken_as_it_is() -> None:
    assert parser_of_commands().parse_args(["validate", "mine.yaml"]).space == Path("mine.yaml")
