"""front.schema.json says what front.json may hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

import codesign.designs
from codesign.designs import Front, schema
from tests.report.synthetic import write_study

SCHEMA = json.loads((Path(codesign.designs.__file__).parent / "front.schema.json").read_text())


@pytest.fixture
def front(tmp_path: Path) -> Any:
    return json.loads((write_study(tmp_path) / "front.json").read_text())


def valid(front: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(SCHEMA).is_valid(front))


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_a_study_is_accepted(front: Any) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(front)


def _first(front: Any) -> Any:
    return front["designs"][0]


def _layer(front: Any) -> Any:
    return _first(front)["cost"]["tasks"]["restore"]["layers"][0]


MUTATIONS: dict[str, Callable[[Any], Any]] = {
    "another schema version": lambda f: f.update(schema_version=3),
    "no hypervolume": lambda f: f.pop("hypervolume"),
    "an unknown key": lambda f: f.update(extra=1),
    "a text for a number": lambda f: f.update(evaluations="160"),
    "no objectives": lambda f: f.update(objectives=[]),
    "a maximised objective": lambda f: f["objectives"][0].update(direction="maximize"),
    "a design without an assignment": lambda f: _first(f).update(assignments={}),
    "a negative area": lambda f: _first(f)["cost"].update(area_mm2=-1.0),
    "a quality of no sample": lambda f: _first(f)["quality"]["restore"].update(n=0),
    "an unknown bound": lambda f: _layer(f).update(bound="disk"),
    "an unknown kind of layer": lambda f: _layer(f).update(kind="pool"),
    "a unit of no pair": lambda f: _first(f)["accelerator"].update(pairs=[]),
    "a pair without a colon": lambda f: _first(f)["accelerator"].update(pairs=["int8"]),
    "an array of no row": lambda f: _first(f)["accelerator"].update(rows=0),
    "a weight and a key in one layer": lambda f: _first(f)["assignments"]["restore"]["mid.conv"].update(
        key="int8", value="int8"
    ),
    "a layer without an activation": lambda f: _first(f)["assignments"]["restore"]["mid.conv"].pop("activation"),
    "no accumulator": lambda f: _first(f).pop("accumulator"),
    "an accumulator of no layer": lambda f: _first(f)["accumulator"]["restore"].pop("layer"),
    "an attention without a value": lambda f: _first(f)["assignments"]["restore"]["down.0.attn"].pop("value"),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_damaged_front_is_refused(front: Any, mutation: str) -> None:
    MUTATIONS[mutation](front)
    assert not valid(front)


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_types_refuse_what_the_schema_refuses(front: Any, mutation: str) -> None:
    MUTATIONS[mutation](front)
    with pytest.raises(ValidationError):
        Front.model_validate(front)


def test_the_schema_is_that_of_the_types() -> None:
    """`python -m codesign.designs.schema` writes it."""
    assert schema.PATH.read_text(encoding="utf-8") == schema.text()
