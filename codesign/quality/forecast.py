"""What measuring a network will take, before anything is measured: a timed float pass of one batch, and its sizes."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

import torch

from codesign.models.task import Task
from codesign.quality.quantized import opened
from codesign.workload import Workload

# an evaluation over the float pass: 1.2 with formats per tensor, 1.4 with blocks (reports/benchmarks/quality.md)
_OVER_FLOAT = 1.4


@dataclass(frozen=True)
class Forecast:
    """Time and memory of one evaluation, estimated."""

    parameters: int
    batches: int
    batch_s: float  # float pass of the first batch, measured here
    evaluation_s: float
    weight_bytes: int  # of the float weights in memory; of a streamed network, of its largest block
    kept_bytes: int  # most of quantized weights that are kept between evaluations
    output_bytes: int  # of the float outputs, which are kept
    live_bytes: int  # of the activations that are alive at once, of one batch
    room_bytes: int  # in which its operands are quantized one after the other, see `codesign.workload.rooms`

    @property
    def memory_bytes(self) -> int:
        """All of these."""
        return self.weight_bytes + self.kept_bytes + self.output_bytes + self.live_bytes + self.room_bytes

    def to_dict(self) -> dict[str, object]:
        """JSON form."""
        return asdict(self) | {"memory_bytes": self.memory_bytes}


def forecast(task: Task, workload: Workload) -> Forecast:
    """Run one batch of the float network, and estimate what an evaluation takes."""
    started = time.monotonic()
    with torch.inference_mode(), opened(task.module):
        outputs = next(iter(task.batches(task.module)))
    batch_s = time.monotonic() - started
    count = task.batch_count()
    parameters = sum(p.numel() for p in task.module.parameters())
    resident = sum(p.untyped_storage().nbytes() for p in task.module.parameters())
    blocks = [sum(p.numel() for p in child.parameters()) for child in task.module.modules()]
    largest = max((block for block in blocks if block < parameters), default=parameters)
    weights = resident or 4 * largest
    per_batch = sum(x.numel() * x.element_size() for x in outputs.values())
    samples = max((len(x) for x in outputs.values() if x.ndim), default=1)
    quantized = 4 * parameters
    return Forecast(
        parameters=parameters,
        batches=count,
        batch_s=batch_s,
        evaluation_s=_OVER_FLOAT * count * batch_s,
        weight_bytes=weights,
        kept_bytes=min(task.kept_bytes, quantized),
        output_bytes=count * per_batch,
        live_bytes=4 * samples * workload.peak_live_elements + per_batch,
        room_bytes=4 * samples * _room_elements(workload),
    )


def _room_elements(workload: Workload) -> int:
    """Of the largest streamed and the largest stationary activation."""
    operators = workload.operators
    streamed = max((op.input_elements for op in operators), default=0)
    attention = (op.stationary_elements for op in operators if op.kind.startswith("attention"))
    return streamed + max(attention, default=0)
