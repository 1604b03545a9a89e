"""The JSON Schema of search space files, for editors: ``python -m codesign.search.space.schema`` writes it.

A file names it in its first line, and an editor with a YAML language server completes its keys and formats:

    # yaml-language-server: $schema=PATH/space.schema.json

It says what is written, not all that is checked: `codesign validate` also knows layers, budgets and memories.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from codesign.formats import format_names
from codesign.hardware.chip.accelerator import all_axes
from codesign.hardware.chip.memory_types import type_names
from codesign.search.space.written import SpaceFile
from codesign.targets import target_names

PATH = Path(__file__).with_name("space.schema.json")
_ONE_OR_MANY = ("formats", "prepare", "methods")  # a word stands for a list of one; see the validators of TaskSpec


class _Generator(GenerateJsonSchema):
    def function_plain_schema(self, schema: core_schema.PlainValidatorFunctionSchema) -> dict[str, Any]:
        return {"type": ["number", "string"]}  # of a budget


def schema() -> dict[str, Any]:
    """The schema as JSON Schema draft 2020-12."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "urn:codesign:space:1"}
    found = SpaceFile.model_json_schema(mode="validation", schema_generator=_Generator)
    parts = found["$defs"]
    pairs = _suggested(format_names())
    found["properties"]["pairs"]["items"] = pairs
    found["properties"]["target"] |= _suggested(target_names())
    task = parts["TaskSpec"]["properties"]
    for key in _ONE_OR_MANY:
        listed = {"type": "array", "items": pairs if key == "formats" else {"type": "string"}}
        shapes = [{"type": "string"}, listed]
        if key == "methods":
            shapes.append({"type": "object", "additionalProperties": {"anyOf": list(shapes)}})
        task[key] = {"anyOf": shapes, "description": task[key]["description"]}
    task["attention"] |= pairs
    task["ties"]["items"]["items"] = {"type": ["string", "integer"]}
    for axis in all_axes().values():
        if axis.memory:
            parts["HardwareSpec"]["properties"][axis.key]["items"] = _suggested(type_names(axis.memory))
    return head | found | {"title": "search space of codesign"}


def _suggested(names: Iterable[str]) -> Mapping[str, Any]:
    """A string, of which an editor suggests the known ones."""
    return {"anyOf": [{"enum": list(names)}, {"type": "string"}]}


def text() -> str:
    """The content of space.schema.json."""
    return json.dumps(schema(), indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
    print(PATH)
