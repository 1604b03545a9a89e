"""certificate.json: what a certificate says, and all that a second machine needs to check it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from codesign.designs.design import Metric
from codesign.designs.types import AtLeastOne, Count, JsonModel, Text
from codesign.errors import InputError
from codesign.files import write_atomic
from codesign.jsonio import checked, read_json
from codesign.quality import Quality

CERTIFICATE = "certificate.json"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Compared(JsonModel):
    """One metric, of the network as it was scored and of the network in the unit's arithmetic."""

    scored: Metric
    certified: Metric
    difference: Annotated[float, Field(description="certified minus scored, on the same samples")]
    difference_low: Annotated[float, Field(description="of the 95 % interval of the paired bootstrap")]
    difference_high: float

    @classmethod
    def of(cls, scored: Quality, certified: Quality) -> Compared:
        """certified: measured with the scored samples as its reference."""
        delta, low, high = certified.delta, certified.delta_low, certified.delta_high
        if delta is None or low is None or high is None:
            raise ValueError(f"{certified.metric} was not compared with what was scored")
        return cls(
            scored=Metric.of(scored),
            certified=Metric.of(certified).alone(),
            difference=delta,
            difference_low=low,
            difference_high=high,
        )


class LayerFacts(JsonModel):
    """A layer: its formats, and the hashes of what the unit reads."""

    kind: Text
    formats: dict[str, str]
    modes: Annotated[tuple[Text, ...], Field(strict=False, description="pairs of the unit that multiply it")]
    weight: Annotated[dict[str, Sha256], Field(description="of packed codes, scales, ...; empty for an attention")]
    scales: Annotated[dict[str, float], Field(description="static scales and zero points of its activations")]


class TileFacts(JsonModel):
    """A drawn tile."""

    layer: Text
    kind: Text
    mode: Text
    shape: Annotated[tuple[int, int, int], Field(strict=False, description="M, N, K")]
    operands: Sha256
    results: Sha256
    twin_differs: Annotated[Count, Field(description="results of the network that are not the twin's")]


class Simulation(JsonModel):
    """The drawn tiles in one simulator."""

    simulator: Text
    tiles: AtLeastOne
    compared: Annotated[Count, Field(description="rows of results")]
    wrong: Annotated[Count, Field(description="of them, with a bit that differs from the twin's")]


class OutputFacts(JsonModel):
    """Outputs of a run."""

    rows: Annotated[tuple[int, ...], Field(strict=False, description="samples of the deciding metric that ran")]
    sha256: dict[str, Sha256]


class CertifiedTask(JsonModel):
    """One network of the design."""

    network: Text
    fingerprint: Text
    ranges: Text
    assignment: Text
    samples: Annotated[Count, Field(description="of the deciding metric; fewer than all_samples only on request")]
    all_samples: Annotated[Count, Field(description="of the task; 0 if it cannot be evaluated in part")]
    metrics: Annotated[tuple[Compared, ...], Field(strict=False, min_length=1)]
    layers: dict[str, LayerFacts]
    tiles: Annotated[tuple[TileFacts, ...], Field(strict=False)]
    scored: OutputFacts
    certified: OutputFacts
    drawn: Annotated[OutputFacts, Field(description="a few drawn samples on their own, which a check runs again")]
    seconds: Annotated[float, Field(ge=0, description="that the network took in the unit's arithmetic")]


class Certificate(JsonModel):
    """certificate.json."""

    schema_version: Literal[1]
    study: Text
    design: Text
    design_sha256: Annotated[Sha256, Field(description="of its chip and assignments")]
    unit: Text
    accumulator: Text
    dot: AtLeastOne
    rtl: Annotated[dict[str, Sha256], Field(description="Verilog sources of the array")]
    vector: Literal["bf16", "float"]
    seed: Count
    simulators: Annotated[dict[str, str], Field(description="version of each, or why it was not run")]
    versions: dict[str, str]
    machine: Text
    tasks: Annotated[dict[str, CertifiedTask], Field(min_length=1)]
    simulations: Annotated[tuple[Simulation, ...], Field(strict=False)]
    files: dict[str, Sha256]

    @property
    def wrong(self) -> int:
        """Results of the drawn tiles that differ, in the twin or a simulator."""
        tiles = [tile for task in self.tasks.values() for tile in task.tiles]
        return sum(tile.twin_differs for tile in tiles) + sum(each.wrong for each in self.simulations)


_FORM = TypeAdapter(Certificate)


def read_certificate(path: Path) -> Certificate:
    """Read a certificate; raises InputError with file, line and key."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name its {CERTIFICATE}")
    return checked(path, read_json(path), _FORM)


def write_certificate(path: Path, certificate: Certificate) -> None:
    """Write a certificate, complete or not at all."""
    write_atomic(path, json.dumps(certificate.model_dump(mode="json", exclude_none=True), indent=1) + "\n")
