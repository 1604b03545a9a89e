"""The cost of a design: in total, per component of the chip, per network and per layer.

"One result" is one inference of a network with all its passes, for example prefill and every decode step.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from codesign.designs.types import Amount, Count, JsonModel, Text


class Component(JsonModel):
    """A component of the chip: its area, and its energy for one result of every network."""

    name: Text
    area_mm2: Amount
    area_low_mm2: Amount | None = None  # with area_high_mm2 the area model's interval
    area_high_mm2: Amount | None = None
    energy_j: Amount


class LayerCost(JsonModel):
    """The cost of one layer for one result of its network."""

    name: Text
    kind: Literal["conv", "linear", "attention"]
    pair: Annotated[
        str, Field(min_length=3, description="weight:activation; several, if the layer's products differ in their pair")
    ]
    macs: Count
    latency_s: Amount
    bound: Literal["compute", "sram", "dram", "vector", "flash"]
    energy_j: Amount
    dram_bytes: Amount
    utilisation: Annotated[float, Field(ge=0, le=1.000001)]


class TaskCost(JsonModel):
    """The cost of one network for one result, summed over all its passes."""

    parameters: Count
    macs: Count
    latency_s: Amount
    latency_per_pass_s: Annotated[dict[str, Amount], Field(description="by phase")]
    energy_j: Amount
    dram_bytes: Amount
    dram_capacity_bytes: Amount
    weight_bytes: Amount
    bitops: Amount
    layers: Annotated[tuple[LayerCost, ...], Field(min_length=1, strict=False)]


class DesignCost(JsonModel):
    """The cost of a design: the area of its chip, and every other quantity summed over its networks."""

    area_mm2: Amount
    area_low_mm2: Amount
    area_high_mm2: Amount
    latency_s: Amount
    energy_j: Amount
    dram_bytes: Amount
    dram_capacity_bytes: Amount
    weight_bytes: Amount
    bitops: Amount
    components: Annotated[tuple[Component, ...], Field(min_length=1, strict=False)]
    tasks: Annotated[dict[str, TaskCost], Field(min_length=1)]
