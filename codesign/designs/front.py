"""`Front`: the representative designs of a study's Pareto front, and the objectives that compare them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from codesign.designs.design import Design
from codesign.designs.types import Amount, Count, JsonModel, Text
from codesign.errors import InputError, nearest
from codesign.terms import RangeRule, Scale

SCHEMA_VERSION: Literal[2] = 2
READ_VERSIONS = (1, 2)


class Goal(JsonModel):
    """An objective; all are minimised."""

    name: Text
    unit: str
    direction: Literal["minimize"] = "minimize"


class TaskFacts(JsonModel):
    """How a network's quality is defined, and on which data. Studies that differ here cannot be compared."""

    task: Annotated[Text, Field(description="restore, rewrite, or python:package.module:function")]
    metric: Annotated[Text, Field(description="the deciding metric, a loss")]
    unit: str
    scale: Scale
    ranges: Annotated[RangeRule, Field(description="how activations in plain formats are clipped")]
    data: Annotated[Text, Field(description="hash of calibration and evaluation data")]
    prepared: Annotated[
        tuple[str, ...], Field(strict=False, description="steps that changed the float network, and not its outputs")
    ] = ()


class Front(JsonModel):
    """The content of front.json; a sequence of its designs."""

    schema_version: Literal[1, 2] = SCHEMA_VERSION
    study: Text
    created: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}", description="ISO 8601, UTC")]
    space_hash: Text
    code_version: Annotated[Text, Field(description="hash of the code that measures")]
    cost_version: Annotated[Text, Field(description="hash of the cost model: code and data")] | None = None
    made_with: Annotated[dict[str, str], Field(description="versions, and the host that searched")] | None = None
    seed: int
    objectives: Annotated[tuple[Goal, ...], Field(min_length=1, strict=False)]
    reference_point: Annotated[
        tuple[float, ...], Field(min_length=1, strict=False, description="in the order of the objectives")
    ]
    hypervolume: Amount
    evaluations: Count
    front_size: Annotated[Count, Field(description="designs on the whole front, which `designs` represent")]
    hardware_given: Annotated[
        bool,
        Field(description="if not, formats alone were searched, and costs that depend on a chip are of a nominal one"),
    ] = True
    tasks: dict[str, TaskFacts] = {}
    designs: Annotated[tuple[Design, ...], Field(strict=False)]

    @model_validator(mode="after")
    def _agrees(self) -> Front:
        if len(set(self.names)) < len(self.names):
            raise InputError(f"objectives: one is listed twice: {', '.join(self.names)}")
        if len(self.reference_point) != len(self.names):
            raise InputError(f"reference_point: {len(self.reference_point)} values for {len(self.names)} objectives")
        known: set[str] = set()
        for design in self.designs:
            self.check_objectives(design)
            if design.id in known:
                raise InputError(f"designs: two have the id {design.id}")
            known.add(design.id)
        return self

    def check_objectives(self, design: Design) -> None:
        """Raise InputError unless the design has a value for each objective, and its networks quality and cost."""
        if set(design.objectives) != set(self.names):
            own, wanted = ", ".join(design.objectives), ", ".join(self.names)
            raise InputError(f"design {design.id}: its objectives are {own}, those of the front {wanted}")
        for name in self.names:
            task, _, field = name.rpartition(".")
            if field == "quality" and task not in design.quality:
                raise InputError(f"design {design.id}: no quality of '{task}', which is an objective")
        if set(design.cost.tasks) != set(design.assignments):
            raise InputError(f"design {design.id}: cost and assignments are not of the same networks")

    def __len__(self) -> int:
        return len(self.designs)

    def __getitem__(self, place: int) -> Design:
        return self.designs[place]

    def __iter__(self) -> Iterator[Design]:  # type: ignore[override]  # a front is a sequence of designs, not of fields
        return iter(self.designs)

    @property
    def names(self) -> list[str]:
        """The names of the objectives."""
        return [goal.name for goal in self.objectives]

    def design(self, identifier: str) -> Design:
        """The design with this id; raises InputError with the nearest id if there is none."""
        found = next((design for design in self.designs if design.id == identifier), None)
        if found is None:
            raise InputError(f"no design '{identifier}'{nearest(identifier, (d.id for d in self.designs))}")
        return found
