"""What a design costs: totals, by component of the chip, by network and by layer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from codesign.designs.types import Amount, Count, JsonModel, Text


class Component(JsonModel):
    """A part of the chip; its area with the interval of the model, and its energy for one result of every network."""

    name: Text
    area_mm2: Amount
    area_low_mm2: Amount | None = None
    area_high_mm2: Amount | None = None
    energy_j: Amount


class LayerCost(JsonModel):
    """One layer of one network. pair: weight:activation, several where its products differ."""

    name: Text
    kind: Literal["conv", "linear", "attention"]
    pair: Annotated[str, Field(min_length=3)]
    macs: Count
    latency_s: Amount
    bound: Literal["compute", "sram", "dram", "vector", "flash"]
    energy_j: Amount
    dram_bytes: Amount
    utilisation: Annotated[float, Field(ge=0, le=1.000001)]


class TaskCost(JsonModel):
    """One network, of one result, all passes. latency_per_pass_s: by phase."""

    parameters: Count
    macs: Count
    latency_s: Amount
    latency_per_pass_s: dict[str, Amount]
    energy_j: Amount
    dram_bytes: Amount
    dram_capacity_bytes: Amount
    weight_bytes: Amount
    bitops: Amount
    layers: Annotated[tuple[LayerCost, ...], Field(min_length=1, strict=False)]


class DesignCost(JsonModel):
    """The chip once, everything else summed over the networks."""

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
