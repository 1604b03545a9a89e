"""`Design`: a chip, the formats of every network that runs on it, their quality and their cost."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from codesign.designs.cost import DesignCost
from codesign.designs.types import AssignmentField, AtLeastOne, JsonModel, Pair, Positive, Text
from codesign.hardware import Accelerator
from codesign.terms import Direction

if TYPE_CHECKING:
    from codesign.quality import Quality


class Metric(JsonModel):
    """A measured quality with its 95 % interval over n samples."""

    metric: Text
    unit: str
    direction: Direction
    value: float
    low: float
    high: float
    n: AtLeastOne
    float_value: float | None = None
    delta: Annotated[
        float | None,
        Field(
            description="value minus the float network's, paired on the same samples; absent if the metric is itself a "
            "distance from the float network"
        ),
    ] = None
    delta_low: float | None = None
    delta_high: float | None = None

    @classmethod
    def of(cls, quality: Quality) -> Metric:
        """The reported fields of a measured quality."""
        return cls(**{key: getattr(quality, key) for key in cls.model_fields})

    def alone(self) -> Metric:
        """This metric without the comparison with the float network."""
        return self.model_copy(update=dict.fromkeys(("float_value", "delta", "delta_low", "delta_high")))


class AcceleratorFacts(JsonModel):
    """The parameters of a chip as JSON; `built` makes an `Accelerator` of them."""

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
    dram_gib: Annotated[float, Field(gt=0, description="DRAM available to networks")] | None = None
    flash: str = ""
    codec: str = ""
    unit_model: Annotated[Text, Field(description="model of the compute units, if not a shipped one")] | None = None
    others: (
        Annotated[dict[str, float], Field(description="axes of installed packages, unless at their default")] | None
    ) = None

    @classmethod
    def of(cls, accelerator: Accelerator) -> AcceleratorFacts:
        """The parameters of an accelerator."""
        return cls.model_validate(accelerator.to_dict())

    def built(self) -> Accelerator:
        """The `Accelerator` with these parameters; raises InputError if they are invalid."""
        return Accelerator.from_dict(self.model_dump(mode="json", exclude_none=True))


class WorstSum(JsonModel):
    """The layer of a network whose dot products lose most in the unit's accumulator."""

    sqnr_db: Annotated[
        float | None,
        Field(description="signal-to-noise ratio of the sums against exact ones; absent if every layer is exact"),
    ] = None
    layer: Text
    accumulator: Annotated[Text, Field(description="description of the accumulator that sums the layer")]


class Design(JsonModel):
    """A design: an accelerator, and an assignment of formats for every network that runs on it."""

    id: Annotated[str, Field(pattern=r"^d[0-9a-f]{8}$", description="hash of chip and formats")]
    objectives: Annotated[dict[str, float], Field(min_length=1)]
    quality: Annotated[
        dict[str, Metric],
        Field(description="the deciding metric of each network; empty if networks were priced and not measured"),
    ]
    metrics: Annotated[
        dict[str, Annotated[tuple[Metric, ...], Field(strict=False)]], Field(description="every metric, by network")
    ]
    cost: DesignCost
    accelerator: AcceleratorFacts
    assignments: Annotated[dict[str, AssignmentField], Field(min_length=1)]
    accumulator: Annotated[
        dict[str, WorstSum], Field(description="by network; empty if nothing was measured or the space has no hardware")
    ]
    told_apart: Annotated[
        bool, Field(description="better than every cheaper design of the front by more than the comparison's noise")
    ] = True
    candidate: Annotated[
        str | None, Field(description="key of the candidate with this chip and these formats; absent in older files")
    ] = None

    def pairs(self, task: str) -> Counter[str]:
        """Number of layers of a network with each pair, by method."""
        return Counter(str(formats.choice) for _, formats in self.assignments[task].layers)

    @property
    def is_mixed(self) -> bool:
        """Whether two layers, of one network or of two, have different pairs."""
        layers = (formats for assignment in self.assignments.values() for _, formats in assignment.layers)
        return len({formats.choice.formats for formats in layers}) > 1

    def formats(self) -> set[str]:
        """The names of all formats in the assignments."""
        layers = (formats for assignment in self.assignments.values() for _, formats in assignment.layers)
        return {name for formats in layers for name in formats.roles.values()}

    def dominates(self, other: Design) -> bool:
        """Whether this design is at least as good in every objective, and better in at least one."""
        pairs = [(value, other.objectives[name]) for name, value in self.objectives.items()]
        return all(mine <= theirs for mine, theirs in pairs) and any(mine < theirs for mine, theirs in pairs)


def design_id(accelerator: Mapping[str, object], assignments: Mapping[str, object]) -> str:
    """The id of a design, from its accelerator and assignments in JSON form: ``d`` and 8 hex digits of SHA-256."""
    text = json.dumps([accelerator, assignments], sort_keys=True)
    return "d" + hashlib.sha256(text.encode()).hexdigest()[:8]
