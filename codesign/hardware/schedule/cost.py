"""`cost`: area, latency, energy and memory of one network with one assignment on one accelerator."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from codesign.errors import InputError
from codesign.formats import Assignment, FormatPair
from codesign.hardware.chip.accelerator import Accelerator
from codesign.hardware.chip.area import COMPONENTS, areas
from codesign.hardware.chip.grid import AcceleratorGrid
from codesign.hardware.chip.memory import compression_ratios
from codesign.hardware.schedule.footprint import network_sizes
from codesign.hardware.schedule.operators import PricedOperator, price_operators
from codesign.workload.types import Workload


@dataclass(frozen=True)
class Cost:
    """What a result of the workload costs; JSON keys are these names.

    Per result, all phases times their repeats: macs, latency_s, energy_j, dram_bytes, bitops
    (MACs x weight bits x activation bits). parameters, weight_bytes (layers' weights, scales
    counted) and dram_capacity_bytes (weights, other parameters in bf16, KV cache, largest pair of
    activation tensors) are sizes. latency_per_pass_s: phase -> seconds of one pass. layers:
    name, kind, pair, macs, latency_s, bound, energy_j, dram_bytes, utilisation (of the array's
    lanes over the layer's latency). components: name, area_mm2 with low and high, energy_j.
    """

    parameters: int
    macs: int
    area_mm2: float
    area_low_mm2: float
    area_high_mm2: float
    latency_s: float
    latency_per_pass_s: dict[str, float]
    energy_j: float
    dram_bytes: float
    dram_capacity_bytes: float
    weight_bytes: float
    bitops: float
    layers: list[dict[str, Any]]
    components: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class _Layer:
    """Sums over one layer's operators, per result."""

    kind: str
    pairs: dict[str, None] = field(default_factory=dict)
    macs: int = 0
    latency_s: float = 0.0
    energy_j: float = 0.0
    dram_bytes: float = 0.0
    peak_macs: float = 0.0
    bound_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, one: PricedOperator) -> None:
        seconds = one.repeat * one.latency_s
        self.pairs[str(one.pair)] = None
        self.macs += one.repeat * one.operator.macs
        self.latency_s += seconds
        self.energy_j += one.repeat * sum(one.energy_j.values())
        self.dram_bytes += one.repeat * one.dram_bytes
        self.peak_macs += seconds * one.peak_macs_per_s
        self.bound_s[one.bound] += seconds

    def record(self, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "kind": self.kind,
            "pair": " ".join(self.pairs),
            "macs": self.macs,
            "latency_s": self.latency_s,
            "bound": max(self.bound_s, key=lambda bound: self.bound_s[bound]),
            "energy_j": self.energy_j,
            "dram_bytes": self.dram_bytes,
            "utilisation": self.macs / self.peak_macs if self.peak_macs else 0.0,
        }


def cost(workload: Workload, accelerator: Accelerator, assignment: Assignment) -> Cost:
    """The cost of one result of `workload`.

    Raises InputError where the assignment misses a layer, names one that does not exist, or gives a
    layer a pair that the accelerator does not support.
    """
    priced = price_operators(workload, accelerator, assignment)
    kinds = workload.layer_kinds()
    layers = {name: _Layer(kinds[name]) for name in workload.layers}
    per_pass: dict[str, float] = dict.fromkeys(workload.phases, 0.0)
    energy: dict[str, float] = defaultdict(float)
    for one in priced:
        layers[one.operator.layer].add(one)
        per_pass[one.operator.phase] += one.latency_s
        for component, joules in one.energy_j.items():
            energy[component] += one.repeat * joules
    return Cost(
        parameters=workload.parameters,
        macs=workload.macs(),
        latency_s=sum(layer.latency_s for layer in layers.values()),
        latency_per_pass_s=per_pass,
        energy_j=sum(layer.energy_j for layer in layers.values()),
        dram_bytes=sum(layer.dram_bytes for layer in layers.values()),
        layers=[layer.record(name) for name, layer in layers.items()],
        **_areas(accelerator, energy),
        **_sizes(workload, accelerator, [one.pair for one in priced]),
    )


def _areas(accelerator: Accelerator, energy: Mapping[str, float]) -> dict[str, Any]:
    """The area with its interval, and the components."""
    area = areas(AcceleratorGrid.of([accelerator]))
    ends = {"area_mm2": area.value[0], "area_low_mm2": area.low[0], "area_high_mm2": area.high[0]}
    components = [
        {"name": name} | {end: float(values[i]) for end, values in ends.items()} | {"energy_j": energy.get(name, 0.0)}
        for i, name in enumerate(COMPONENTS)
        if area.value[0, i] > 0
    ]
    elsewhere = [name for name in energy if name not in COMPONENTS]  # a flash is no part of the chip
    components += [{"name": name} | dict.fromkeys(ends, 0.0) | {"energy_j": energy[name]} for name in elsewhere]
    return {end: float(values.sum()) for end, values in ends.items()} | {"components": components}


def _sizes(workload: Workload, accelerator: Accelerator, chosen: list[FormatPair]) -> dict[str, Any]:
    """dram_capacity_bytes, weight_bytes and bitops; raises InputError where the DRAM does not hold what has to be
    there."""
    sizes = network_sizes(workload, chosen)
    grid, pairs = AcceleratorGrid.of([accelerator]), tuple(sizes.weight_bytes)
    ratios = compression_ratios(grid, pairs)[grid.codec[0]].tolist()
    stored = sum(size / ratio for size, ratio in zip(sizes.weight_bytes.values(), ratios, strict=True))
    _check_capacity(workload, accelerator, stored, sizes.other_bytes)
    return {
        "dram_capacity_bytes": stored + sizes.other_bytes,
        "weight_bytes": sum(sizes.weight_bytes.values()),
        "bitops": sizes.bitops,
    }


def _check_capacity(workload: Workload, accelerator: Accelerator, weights: float, others: float) -> None:
    """Raises InputError where more has to be in DRAM than it holds: everything, or with flash all but the weights."""
    needed = others if accelerator.flash else weights + others
    missing = needed - accelerator.dram_gib * 2**30
    if missing > 0:
        advice = "" if accelerator.flash else ", fewer bits a weight or a flash behind it (flash: ufs4.0)"
        raise InputError(
            f"{workload.name} needs {needed / 2**30:.2f} GiB of DRAM and {accelerator.name} gives networks "
            f"{accelerator.dram_gib:g} GiB: {missing / 2**30:.2f} GiB too much; take more DRAM (dram_gib){advice}, "
            "or a shorter context"
        )
