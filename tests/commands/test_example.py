"""The search spaces that ship with the package are there by name, also where the repository is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from codesign.arguments import parser_of_commands
from codesign.parsers import EXAMPLES

SPACES = Path(__file__).parents[2] / "search_spaces"


@pytest.mark.parametrize("name", ["phone", "smoke", "sd15_hardware"])
def test_an_example_is_the_file_of_the_repository(name: str) -> None:
    assert parser_of_commands().parse_args(["search", "--example", name]).space == EXAMPLES / f"{name}.yaml"
    assert (EXAMPLES / f"{name}.yaml").read_text() == (SPACES / f"{name}.yaml").read_text()


def test_a_file_is_taken_as_it_is() -> None:
    assert parser_of_commands().parse_args(["validate", "mine.yaml"]).space == Path("mine.yaml")
