"""Field types that the JSON models share, with their validation and serialisation by pydantic."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from codesign.formats import Assignment, FormatPair
from codesign.formats.assignment import METHODS, parse_assignment

Amount = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Text = Annotated[str, Field(min_length=1)]


def _known_pair(text: str) -> str:
    FormatPair.parse(text).checked()
    return text


Pair = Annotated[
    str,
    Field(
        pattern=r"^[a-z][a-z0-9_]*:[a-z][a-z0-9_]*$",
        description="weight:activation; key:query and value:probability in attention",
    ),
    AfterValidator(_known_pair),
]

_FORMAT = {"type": "string", "pattern": "^[a-z][a-z0-9_]*$"}
_METHOD = {"enum": sorted(METHODS), "description": "how the weight is rounded; absent if to the nearest"}
_LAYER = {
    "type": "object",
    "required": ["activation"],
    "additionalProperties": False,
    "properties": dict.fromkeys(("weight", "activation", "key", "value"), _FORMAT) | {"method": _METHOD},
    "oneOf": [{"required": ["weight"]}, {"required": ["key", "value"]}],
}


def _assignment(value: Any) -> Assignment:
    return value if isinstance(value, Assignment) else parse_assignment(value)


AssignmentField = Annotated[
    Assignment,
    BeforeValidator(_assignment),
    PlainSerializer(Assignment.to_dict),
    WithJsonSchema({"type": "object", "minProperties": 1, "additionalProperties": _LAYER}),
]


class JsonModel(BaseModel):
    """Base of the models of JSON files: frozen, strict about types, without unknown keys, with finite numbers."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True, allow_inf_nan=False
    )
