"""The JSON Schema of search space files, by which editors complete them, says what the files may say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from codesign.search.space.schema import PATH, text

ROOT = Path(__file__).parents[2]
SPACES = sorted((ROOT / "search_spaces").glob("*.yaml"))


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
    return found


def test_the_schema_is_that_of_the_types() -> None:
    assert PATH.read_text(encoding="utf-8") == text(), "run python -m codesign.search.space.schema"


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.stem)
def test_it_takes_the_spaces_of_the_repository(space: Path, schema: dict[str, Any]) -> None:
    jsonschema.validate(yaml.safe_load(space.read_text(encoding="utf-8")), schema)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.stem)
def test_each_space_names_the_schema_in_its_first_line(space: Path) -> None:
    line = space.read_text(encoding="utf-8").splitlines()[0]
    found = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", line)
    assert found
    assert (space.parent / found[1]).resolve() == PATH


@pytest.mark.parametrize(
    "change",
    [
        {"objektives": []},
        {"tasks": {"net": {"task": "restore", "pears": ["int8"]}}},
        {"hardware": {"units": {"sets": [["int8"]]}, "rows": [8], "columns": [8], "sram": [64]}},
        {"search": {"evaluations": "many"}},
    ],
    ids=["key", "key of a task", "key of the hardware", "value"],
)
def test_it_refuses_what_a_file_may_not_say(change: dict[str, Any], schema: dict[str, Any]) -> None:
    space = {"name": "a", "tasks": {"net": {"task": "restore"}}, "pairs": ["int8"], "objectives": ["net.quality", "x"]}
    jsonschema.validate(space, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(space | change, schema)


@pytest.mark.parametrize(
    "task",
    [
        {"methods": "gptq"},
        {"methods": ["nearest", "gptq"]},
        {"methods": {"head*": "gptq", "*": ["nearest"]}},
        {"prepare": "none"},
        {"ties": [[0, "2"]]},
    ],
    ids=str,
)
def test_it_takes_each_way_to_write_a_key(task: dict[str, Any], schema: dict[str, Any]) -> None:
    space = {"name": "a", "tasks": {"net": {"task": "restore", **task}}, "objectives": ["net.quality", "net.bitops"]}
    jsonschema.validate(space, schema)
