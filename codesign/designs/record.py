"""`StudyRecord`: the content of details.json, which holds what a study knows beside its front."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from codesign.designs.design import Design, Metric, WorstSum
from codesign.designs.types import Amount, Count, JsonModel, Pair, Text


class LayerFacts(JsonModel):
    """A layer of a network."""

    name: Text
    kind: Text
    macs: Count  # for one result, over all passes
    parameters: Count


class FloatMetric(Metric):
    """A metric of the float network; older files hold more fields."""

    model_config = ConfigDict(extra="ignore")


class NetworkRecord(JsonModel):
    """One network of the study."""

    metric: str  # the deciding metric; empty if nothing is measured
    unit: str  # of the deciding metric
    batch_norms: Count = 0  # batch normalisations that are not folded into convolutions
    shared_samples: Count = 0  # evaluation samples that are calibration samples too
    layers: Annotated[tuple[LayerFacts, ...], Field(strict=False)]  # in the network's order
    float: Annotated[tuple[FloatMetric, ...], Field(strict=False)]  # metrics of the float network


class Baseline(Design):
    """The balanced design of a uniform format, or of one choice among given formats."""

    label: Text
    dominated_by: str | None = None  # id of a reported design
    on_front: bool
    designs: Count  # size of the front of this choice alone
    share_dominated: float  # of those designs, by mixed-format designs or by other choices
    note: str
    accumulator: dict[str, WorstSum] = {}

    @classmethod
    def of(cls, design: Design, **more: object) -> Baseline:
        """A baseline from a design and the further fields."""
        return cls(**{**dict(design), **more})


class AtEqualSize(JsonModel):
    """One uniform format on the balanced design's chip, with units for it alone: array and memories are the same."""

    pair: Text
    pairs: Annotated[tuple[Pair, ...], Field(strict=False)]  # of its unit, with those that some layer must take
    area_mm2: Amount
    area_low_mm2: Amount
    area_high_mm2: Amount
    array_mm2: Amount  # of the compute units alone
    latency_s: dict[str, Amount]  # of one result, by network
    energy_j: dict[str, Amount]
    array_j: Amount  # of the compute units alone, for one result of every network
    quality: dict[str, Metric]


class ProgressPoint(JsonModel):
    """The hypervolume of the front after a number of evaluations."""

    model_config = ConfigDict(extra="ignore")

    evaluations: Count
    hypervolume: float


class Accumulators(JsonModel):
    """The check of the reported designs' accumulators."""

    threshold_db: float | None = None  # least SQNR of the sums of a reported design; None if nothing was measured
    layers_measured: Count
    designs_refused: Count


class SentinelRecord(JsonModel):
    """A known assignment that was measured again when the study was resumed."""

    task: Text
    rank: Text
    before: float
    low: float  # with `high` the 95 % interval of `before`
    high: float
    now: float
    moved: Literal["no", "within noise", "worse", "better"]  # judged by that interval


class StudyRecord(JsonModel):
    """The content of details.json."""

    # fields that a later version adds are ignored
    model_config = ConfigDict(extra="ignore")

    tasks: dict[str, NetworkRecord]
    baselines: Annotated[tuple[Baseline, ...], Field(strict=False)]
    equal_size: Annotated[tuple[AtEqualSize, ...], Field(strict=False)] = ()
    chosen: Text  # id of the balanced design
    worst: str | None = None  # id of the design of lowest quality; None if nothing is measured
    history: Annotated[tuple[ProgressPoint, ...], Field(strict=False)]
    sensitivities: dict[str, dict[str, dict[str, float]]] = {}  # network -> layer -> pair -> raw loss
    timings: dict[str, float] = {}  # stage -> seconds
    hardware_count: Count  # accelerators of the space
    log10_designs: float  # size of the space
    failures: Annotated[tuple[str, ...], Field(strict=False)] = ()
    sentinels: Annotated[tuple[SentinelRecord, ...], Field(strict=False)] = ()
    accumulators: Accumulators
    measured: dict[str, int] = {}  # network -> evaluations that were run, not read from a cache
    peak_memory_bytes: Count | None = None
    told_apart: Count | None = None  # designs of the whole front with `Design.told_apart`
    designs_priced: Count | None = None  # with given formats: designs that can be built
    formats: dict[str, dict[str, int]] = {}  # with given formats: network -> label -> designs of the front
