"""`Design`: a chip, the formats of every network on it, what they lose and what they cost."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from codesign.designs.cost import DesignCost
from codesign.designs.types import AssignmentField, AtLeastOne, Direction, JsonModel, Pair, Positive, Text
from codesign.hardware import Accelerator
from codesign.quality import Quality


class Metric(JsonModel):
    """A measured quality with its 95 % interval over n samples.

    delta: value minus the float network's, paired on the same samples, with its own interval; None where the metric
    compares with the float network already.
    """

    metric: Text
    unit: str
    direction: Direction
    value: float
    low: float
    high: float
    n: AtLeastOne
    float_value: float | None = None
    delta: float | None = None
    delta_low: float | None = None
    delta_high: float | None = None

    @classmethod
    def of(cls, quality: Quality) -> Metric:
        """The part of a measured quality that is reported."""
        return cls(**{key: getattr(quality, key) for key in cls.model_fields})

    def alone(self) -> Metric:
        """Without the comparison with the float network."""
        return self.model_copy(update=dict.fromkeys(("float_value", "delta", "delta_low", "delta_high")))


class AcceleratorFacts(JsonModel):
    """The chip as it is written down; `built` makes it one that can be priced."""

    name: Text
    pairs: Annotated[tuple[Pair, ...], Field(min_length=1, strict=False, json_schema_extra={"uniqueItems": True})]
    accumulator: Text
    dot: AtLeastOne
    rows: AtLeastOne
    columns: AtLeastOne
    sram_bytes: AtLeastOne
    dram: Text
    dram_channels: AtLeastOne
    clock_hz: Positive
    node_nm: Positive
    vector_lanes: AtLeastOne | None = None
    dram_gib: Annotated[float, Field(gt=0, description="DRAM that networks may take")] | None = None
    flash: str = ""
    codec: str = ""
    unit_model: Annotated[Text, Field(description="whose library prices the units, if not a shipped one")] | None = None
    others: Annotated[dict[str, float], Field(description="axes that other packages add, not usual")] | None = None

    @classmethod
    def of(cls, accelerator: Accelerator) -> AcceleratorFacts:
        return cls.model_validate(accelerator.to_dict())

    def built(self) -> Accelerator:
        """Raises InputError where no such chip can be built."""
        return Accelerator.from_dict(self.model_dump(mode="json", exclude_none=True))


class WorstSum(JsonModel):
    """Of one network, the layer whose sums differ most from exact ones in the unit's accumulator.

    sqnr_db: exact sums over the difference; None where every layer is exact. accumulator: what sums that layer.
    """

    sqnr_db: float | None = None
    layer: Text
    accumulator: Text


class Design(JsonModel):
    """One point that nobody can improve for free.

    id: follows from chip and formats. quality: the deciding metric of each measured network; empty where formats were
    given and networks priced only. metrics: all of them. told_apart: better than any cheaper design of the front by
    more than the noise of their comparison. candidate: `Candidate.key` of this chip with these formats; None in files
    from before it was kept. accumulator: by network; empty where nothing was measured, or no hardware was given.
    """

    id: Annotated[str, Field(pattern=r"^d[0-9a-f]{8}$")]
    objectives: Annotated[dict[str, float], Field(min_length=1)]
    quality: dict[str, Metric]
    metrics: dict[str, Annotated[tuple[Metric, ...], Field(strict=False)]]
    cost: DesignCost
    accelerator: AcceleratorFacts
    assignments: Annotated[dict[str, AssignmentField], Field(min_length=1)]
    accumulator: dict[str, WorstSum]
    told_apart: bool = True
    candidate: str | None = None

    def pairs(self, task: str) -> Counter[str]:
        """How many layers of a network take each pair."""
        return Counter(
            f"{formats.weight or formats.key}:{formats.activation}" for _, formats in self.assignments[task].layers
        )

    def formats(self) -> set[str]:
        """All format names in the assignments."""
        layers = (formats for assignment in self.assignments.values() for _, formats in assignment.layers)
        return {name for formats in layers for name in formats.to_dict().values()}

    def dominates(self, other: Design) -> bool:
        """As good in every objective, and better in one."""
        pairs = [(value, other.objectives[name]) for name, value in self.objectives.items()]
        return all(mine <= theirs for mine, theirs in pairs) and any(mine < theirs for mine, theirs in pairs)


def design_id(accelerator: Mapping[str, object], assignments: Mapping[str, object]) -> str:
    """The id of these formats on this chip, both in their JSON form."""
    text = json.dumps([accelerator, assignments], sort_keys=True)
    return "d" + hashlib.sha256(text.encode()).hexdigest()[:8]
