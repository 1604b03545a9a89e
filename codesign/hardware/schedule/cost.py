"""`cost`: area, latency, energy and memory of a network under an assignment on one accelerator."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from codesign.errors import InputError
from codesign.formats import Assignment
from codesign.hardware.chip.accelerator import Accelerator
from codesign.hardware.chip.area import Areas, areas
from codesign.hardware.chip.axes import COMPONENTS
from codesign.hardware.chip.grid import AcceleratorGrid
from codesign.hardware.chip.memory import compression_ratios
from codesign.hardware.schedule.footprint import NetworkSizes, network_sizes
from codesign.hardware.schedule.operators import PricedOperator, price_operators
from codesign.workload.types import Workload


@dataclass(frozen=True)
class LayerTotals:
    """Totals of one layer per result, over all passes."""

    name: str
    kind: str
    pair: str  # weight:activation; several, separated by spaces, if its products differ
    macs: int
    latency_s: float
    bound: str  # what limits most of the latency: compute, sram, dram, vector or flash
    energy_j: float
    dram_bytes: float
    utilisation: float  # MACs over those that the array could perform in latency_s


@dataclass(frozen=True)
class ComponentCost:
    """A component of the chip, or the flash outside of it."""

    name: str
    area_mm2: float  # with the interval of the model; 0 outside of the chip
    area_low_mm2: float
    area_high_mm2: float
    energy_j: float  # per result


@dataclass(frozen=True)
class Cost:
    """Cost of a workload. "Per result" means all phases times their repeats. The field names are the JSON keys."""

    parameters: int
    macs: int  # per result
    area_mm2: float
    area_low_mm2: float
    area_high_mm2: float
    latency_s: float  # per result
    latency_per_pass_s: dict[str, float]  # phase -> seconds of one pass
    energy_j: float  # per result
    dram_bytes: float  # traffic per result
    dram_capacity_bytes: float  # weights, other parameters in bf16, KV cache, largest input and output of an operator
    weight_bytes: float  # of the layers, including scales
    bitops: float  # MACs x weight bits x activation bits, per result
    layers: list[LayerTotals]
    components: list[ComponentCost]

    def to_dict(self) -> dict[str, object]:
        """JSON form."""
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

    def cost(self, name: str) -> LayerTotals:
        return LayerTotals(
            name=name,
            kind=self.kind,
            pair=" ".join(self.pairs),
            macs=self.macs,
            latency_s=self.latency_s,
            bound=max(self.bound_s, key=lambda bound: self.bound_s[bound]),
            energy_j=self.energy_j,
            dram_bytes=self.dram_bytes,
            utilisation=self.macs / self.peak_macs if self.peak_macs else 0.0,
        )


def cost(workload: Workload, accelerator: Accelerator, assignment: Assignment) -> Cost:
    """The cost of one result of `workload`; the model is described in `codesign.hardware.schedule`.

    Raises InputError if the assignment lacks a layer, names an unknown one or gives a layer a pair that the accelerator
    does not support, if a tile does not fit the SRAM, or if the DRAM is too small.
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
    area = areas(AcceleratorGrid.of([accelerator]))
    sizes = network_sizes(workload, [one.pair for one in priced])
    return Cost(
        parameters=workload.parameters,
        macs=workload.macs(),
        latency_s=sum(layer.latency_s for layer in layers.values()),
        latency_per_pass_s=per_pass,
        energy_j=sum(layer.energy_j for layer in layers.values()),
        dram_bytes=sum(layer.dram_bytes for layer in layers.values()),
        layers=[layer.cost(name) for name, layer in layers.items()],
        area_mm2=float(area.value[0].sum()),
        area_low_mm2=float(area.low[0].sum()),
        area_high_mm2=float(area.high[0].sum()),
        components=_components(area, energy),
        dram_capacity_bytes=_capacity(workload, accelerator, sizes),
        weight_bytes=sum(sizes.weight_bytes.values()),
        bitops=sizes.bitops,
    )


def _components(area: Areas, energy: Mapping[str, float]) -> list[ComponentCost]:
    """Components of the chip, then those outside of it that consume energy (flash)."""
    value, low, high = (ends[0].tolist() for ends in (area.value, area.low, area.high))
    found = [
        ComponentCost(name, value[i], low[i], high[i], energy.get(name, 0.0))
        for i, name in enumerate(COMPONENTS)
        if value[i] > 0
    ]
    elsewhere = [name for name in energy if name not in COMPONENTS]
    return found + [ComponentCost(name, 0.0, 0.0, 0.0, energy[name]) for name in elsewhere]


def _capacity(workload: Workload, accelerator: Accelerator, sizes: NetworkSizes) -> float:
    """dram_capacity_bytes; raises InputError if the DRAM is too small."""
    grid, pairs = AcceleratorGrid.of([accelerator]), tuple(sizes.weight_bytes)
    ratios = compression_ratios(grid, pairs)[grid.codec[0]].tolist()
    stored = sum(size / ratio for size, ratio in zip(sizes.weight_bytes.values(), ratios, strict=True))
    _check_capacity(workload, accelerator, stored, sizes.other_bytes)
    return float(stored + sizes.other_bytes)


def _check_capacity(workload: Workload, accelerator: Accelerator, weights: float, others: float) -> None:
    """Raises InputError unless the DRAM holds everything, or with flash everything except the weights."""
    needed = others if accelerator.flash else weights + others
    missing = needed - accelerator.dram_gib * 2**30
    if missing > 0:
        advice = "" if accelerator.flash else ", fewer bits a weight or a flash behind it (flash: ufs4.0)"
        raise InputError(
            f"{workload.name} needs {needed / 2**30:.2f} GiB of DRAM and {accelerator.name} gives networks "
            f"{accelerator.dram_gib:g} GiB: {missing / 2**30:.2f} GiB too much; take more DRAM (dram_gib){advice}, "
            "or a shorter context"
        )
