"""The JSON Schema of front.json, generated from its types: ``python -m codesign.designs.schema`` writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from codesign.designs.front import Front

PATH = Path(__file__).with_name("front.schema.json")


def schema() -> dict[str, Any]:
    """The schema as JSON Schema draft 2020-12."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "urn:codesign:front:2"}
    return head | Front.model_json_schema(mode="validation") | {"title": "front.json of a codesign study"}


def text() -> str:
    """The content of front.schema.json."""
    return json.dumps(schema(), indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
    print(PATH)
