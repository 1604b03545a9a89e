"""`StudyRecord`: what a study knows beside its front; details.json."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from codesign.designs.design import Design, Metric, WorstSum
from codesign.designs.types import Count, JsonModel, Text


class LayerFacts(JsonModel):
    """A layer of a network, in order. macs: of one result, all passes."""

    name: Text
    kind: Text
    macs: Count
    parameters: Count


class FloatMetric(Metric):
    """A metric of the float network; files of before hold more fields."""

    model_config = ConfigDict(extra="ignore")


class NetworkRecord(JsonModel):
    """One network. metric, unit: of what decides, empty where nothing is measured; float: the float network's metrics;
    batch_norms: that are not folded.
    """

    metric: str
    unit: str
    batch_norms: Count = 0
    layers: Annotated[tuple[LayerFacts, ...], Field(strict=False)]
    float: Annotated[tuple[FloatMetric, ...], Field(strict=False)]


class Baseline(Design):
    """The balanced design of one format throughout, or of one choice of given formats.

    designs: on that choice's own front; share_dominated: of these, by mixed designs (or by other choices).
    """

    label: Text
    dominated_by: str | None = None
    on_front: bool
    designs: Count
    share_dominated: float
    note: str
    accumulator: dict[str, WorstSum] = {}

    @classmethod
    def of(cls, design: Design, **more: object) -> Baseline:
        """`design` with what a baseline has more."""
        return cls(**{**dict(design), **more})


class ProgressPoint(JsonModel):
    """The front's hypervolume after so many evaluations."""

    model_config = ConfigDict(extra="ignore")

    evaluations: Count
    hypervolume: float


class Accumulators(JsonModel):
    """threshold_db: what every sum of a reported design keeps; None where nothing was measured."""

    threshold_db: float | None = None
    layers_measured: Count
    designs_refused: Count


class SentinelRecord(JsonModel):
    """A known assignment that was measured again before anything new; moved: by the interval of `before`."""

    task: Text
    rank: Text
    before: float
    low: float
    high: float
    now: float
    moved: Literal["no", "within noise", "worse", "better"]


class StudyRecord(JsonModel):
    """details.json. chosen: id of the balanced design; worst: of the one of lowest quality, None where there is none.

    told_apart: designs of the whole front that are; designs_priced and formats: of a study whose formats were given.
    """

    # what a later version adds is no reason to refuse its study
    model_config = ConfigDict(extra="ignore")

    tasks: dict[str, NetworkRecord]
    baselines: Annotated[tuple[Baseline, ...], Field(strict=False)]
    chosen: Text
    worst: str | None = None
    history: Annotated[tuple[ProgressPoint, ...], Field(strict=False)]
    sensitivities: dict[str, dict[str, dict[str, float]]] = {}
    timings: dict[str, float] = {}
    hardware_count: Count
    log10_designs: float
    failures: Annotated[tuple[str, ...], Field(strict=False)] = ()
    sentinels: Annotated[tuple[SentinelRecord, ...], Field(strict=False)] = ()
    accumulators: Accumulators
    measured: dict[str, int] = {}
    peak_memory_bytes: Count | None = None
    told_apart: Count | None = None
    designs_priced: Count | None = None
    formats: dict[str, dict[str, int]] = {}
