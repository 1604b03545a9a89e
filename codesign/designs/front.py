"""`Front`: the designs that stand for all non-dominated ones of a study, and what they are compared by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from codesign.designs.design import Design
from codesign.designs.types import Amount, Count, JsonModel, Text
from codesign.errors import InputError, nearest
from codesign.models.task import Scale
from codesign.quality.calibration import RangeRule

SCHEMA_VERSION: Literal[2] = 2
READ_VERSIONS = (1, 2)


class Goal(JsonModel):
    """An objective as it is written down; all are minimised."""

    name: Text
    unit: str
    direction: Literal["minimize"] = "minimize"


class TaskFacts(JsonModel):
    """What a network's quality is, and on what data: studies that differ in it compare in nothing.

    task: restore, rewrite, or python:package.module:function. metric: the deciding one, a loss. ranges: what clips
    activations in plain formats. data: hash of calibration and evaluation data.
    """

    task: Text
    metric: Text
    unit: str
    scale: Scale
    ranges: RangeRule
    data: Text


class Front(JsonModel):
    """front.json. A sequence of its designs.

    reference_point: in the order of the objectives. front_size: designs on the whole front, for which `designs` stand.
    hardware_given: else formats alone were searched, and what depends on a chip is of a nominal one.
    """

    schema_version: Literal[1, 2] = SCHEMA_VERSION
    study: Text
    created: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}", description="ISO 8601, UTC")]
    space_hash: Text
    code_version: Text
    seed: int
    objectives: Annotated[tuple[Goal, ...], Field(min_length=1, strict=False)]
    reference_point: Annotated[tuple[float, ...], Field(min_length=1, strict=False)]
    hypervolume: Amount
    evaluations: Count
    front_size: Count
    hardware_given: bool = True
    tasks: dict[str, TaskFacts] = {}
    designs: Annotated[tuple[Design, ...], Field(strict=False)]

    def __len__(self) -> int:
        return len(self.designs)

    def __getitem__(self, place: int) -> Design:
        return self.designs[place]

    def __iter__(self) -> Iterator[Design]:  # type: ignore[override]  # a front is a sequence of designs, not of fields
        return iter(self.designs)

    @property
    def names(self) -> list[str]:
        """Of the objectives."""
        return [goal.name for goal in self.objectives]

    def design(self, identifier: str) -> Design:
        """The design called so; raises InputError with the nearest id."""
        found = next((design for design in self.designs if design.id == identifier), None)
        if found is None:
            raise InputError(f"no design '{identifier}'{nearest(identifier, (d.id for d in self.designs))}")
        return found
