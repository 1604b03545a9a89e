"""Position of each operator in the roofline model of its accelerator.

Source: S. Williams, A. Waterman, D. Patterson: Roofline, CACM 52(4), 2009.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from math import inf

from codesign.formats import Assignment
from codesign.hardware.chip.accelerator import Accelerator
from codesign.hardware.chip.grid import AcceleratorGrid
from codesign.hardware.chip.memory import dram_bytes_per_s
from codesign.hardware.schedule.operators import price_operators
from codesign.workload.types import Workload


@dataclass(frozen=True)
class RooflinePoint:
    """One operator in the roofline model."""

    layer: str
    kind: str
    phase: str
    pair: str
    macs_per_byte: float  # operational intensity: MACs per byte of DRAM traffic; infinite without traffic
    macs_per_s: float  # achieved
    roof_macs_per_s: float  # attainable: the lower of the array's peak and intensity x DRAM bandwidth
    bound: str  # what limits the latency
    share: float  # of the latency of a result

    def to_dict(self) -> dict[str, object]:
        """JSON form, with None for an infinite intensity."""
        return asdict(self) | {"macs_per_byte": None if self.macs_per_byte == inf else self.macs_per_byte}


def roofline(workload: Workload, accelerator: Accelerator, assignment: Assignment) -> list[RooflinePoint]:
    """Every operator of `workload`, in decreasing order of its share of the latency.

    Raises InputError as `cost` does.
    """
    priced = price_operators(workload, accelerator, assignment)
    bandwidth = float(dram_bytes_per_s(AcceleratorGrid.of([accelerator]))[0])
    total = sum(one.repeat * one.latency_s for one in priced)
    points = []
    for one in priced:
        op, intensity = one.operator, inf
        if one.dram_bytes:
            intensity = op.macs / one.dram_bytes
        points.append(
            RooflinePoint(
                layer=op.layer,
                kind=op.kind,
                phase=op.phase,
                pair=str(one.pair),
                macs_per_byte=intensity,
                macs_per_s=op.macs / one.latency_s,
                roof_macs_per_s=min(one.peak_macs_per_s, intensity * bandwidth),
                bound=one.bound,
                share=one.repeat * one.latency_s / total,
            )
        )
    return sorted(points, key=lambda point: -point.share)


def bound_shares(points: list[RooflinePoint]) -> dict[str, float]:
    """Bound -> share of the latency that it limits, in decreasing order."""
    shares: dict[str, float] = defaultdict(float)
    for point in points:
        shares[point.bound] += point.share
    return dict(sorted(shares.items(), key=lambda item: -item[1]))
