"""The search spaces that ship with the package are those of the repository, also where the repository is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from codesign.arguments import parser_of_commands
from codesign.parsers import EXAMPLES

SPACES = Path(__file__).parents[2] / "search_spaces"
SHIPPED = sorted(path.stem for path in EXAMPLES.glob("*.yaml"))


def test_the_spaces_of_the_readme_ship() -> None:
    assert {"phone", "smoke", "sd15_hardware"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_an_example_is_the_file_of_the_repository(name: str) -> None:
    assert parser_of_commands().parse_args(["search", "--example", name]).space == EXAMPLES / f"{name}.yaml"
    assert (EXAMPLES / f"{name}.yaml").read_text() == (SPACES / f"{name}.yaml").read_text()
