"""`cost`: area, latency, energy and memory of one network with one assignment on one accelerator."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import numpy as np

from codesign.errors import InputError, nearest
from codesign.formats import Assignment, FormatPair
from codesign.hardware.accelerator import Accelerator, AcceleratorGrid
from codesign.hardware.area import COMPONENTS, areas
from codesign.hardware.footprint import (
    Footprint,
    layer_cache,
    layer_passes,
    layer_weights,
    other_bytes,
    tensor_elements,
)
from codesign.hardware.memory import compression_ratios
from codesign.hardware.operands import operands
from codesign.hardware.schedule import BOUNDS, Machine
from codesign.hardware.traffic import least_sram_bytes
from codesign.workload.types import Operator, Workload


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
    pairs: dict[str, None]
    macs: int = 0
    latency_s: float = 0.0
    energy_j: float = 0.0
    dram_bytes: float = 0.0
    lane_seconds: float = 0.0
    bound_s: dict[str, float] | None = None

    def record(self, name: str) -> dict[str, Any]:
        bound = self.bound_s or {}
        return {
            "name": name,
            "kind": self.kind,
            "pair": " ".join(self.pairs),
            "macs": self.macs,
            "latency_s": self.latency_s,
            "bound": max(bound, key=lambda b: bound[b]),
            "energy_j": self.energy_j,
            "dram_bytes": self.dram_bytes,
            "utilisation": self.macs / self.lane_seconds if self.lane_seconds else 0.0,
        }


def cost(workload: Workload, accelerator: Accelerator, assignment: Assignment) -> Cost:
    """The cost of one result of `workload`.

    Raises InputError where the assignment misses a layer, names one that does not exist, or gives a
    layer a pair that the accelerator does not support.
    """
    chosen = _chosen_pairs(workload, accelerator, assignment)
    pairs = tuple(dict.fromkeys(chosen))
    entries = np.arange(len(pairs))
    grid = AcceleratorGrid.of([accelerator])
    machine = Machine(grid, pairs, Footprint.of(workload), entries, np.zeros_like(entries))
    passes, kinds = layer_passes(workload), workload.layer_kinds()
    layers = {name: _Layer(kinds[name], {}) for name in workload.layers}
    per_pass: dict[str, float] = dict.fromkeys(workload.phases, 0.0)
    energy: dict[str, float] = defaultdict(float)
    for op, pair in zip(workload.operators, chosen, strict=True):
        c, repeat = pairs.index(pair), workload.repeats.get(op.phase, 1)
        result = machine.run(op, passes[op.layer])
        at = {name: float(value[c]) for name, value in vars(result).items()} | {"vector_s": float(result.vector_s[c])}
        times = {bound: at[f"{bound}_s"] for bound in BOUNDS}
        slowest = max(times, key=lambda bound: times[bound])
        seconds = float(result.latency_s[c])
        if not isfinite(seconds):
            least = least_sram_bytes(float(machine.weight_bytes[c]), float(machine.input_bytes[c])) / 1024
            raise InputError(
                f"{accelerator.name}: {accelerator.sram_bytes} bytes of SRAM hold no tile of layer '{op.layer}' "
                f"in {pair}; it takes at least {least:g} KiB"
            )
        joules = float(result.energy_j[c])
        per_pass[op.phase] += seconds
        layer = layers[op.layer]
        layer.pairs[str(pair)] = None
        layer.macs += repeat * op.macs
        layer.latency_s += repeat * seconds
        layer.energy_j += repeat * joules
        layer.dram_bytes += repeat * at["dram_bytes"]
        lanes = accelerator.rows * accelerator.columns * float(machine.depth[c])
        layer.lane_seconds += repeat * seconds * accelerator.clock_hz * lanes
        layer.bound_s = layer.bound_s or dict.fromkeys(BOUNDS, 0.0)
        layer.bound_s[slowest] += repeat * seconds
        for component, key in (
            ("mac_array", "mac_j"),
            ("sram", "sram_j"),
            ("dram_interface", "dram_j"),
            ("vector_unit", "vector_j"),
            ("flash", "flash_j"),
        ):
            energy[component] += repeat * at[key]
    return _total(workload, accelerator, chosen, layers, per_pass, energy)


def _total(
    workload: Workload,
    accelerator: Accelerator,
    chosen: list[FormatPair],
    layers: dict[str, _Layer],
    per_pass: dict[str, float],
    energy: dict[str, float],
) -> Cost:
    area = areas(AcceleratorGrid.of([accelerator]))
    sizes = _sizes(workload, accelerator, chosen)
    components: list[dict[str, Any]] = [
        {
            "name": name,
            "area_mm2": float(area.value[0, i]),
            "area_low_mm2": float(area.low[0, i]),
            "area_high_mm2": float(area.high[0, i]),
            "energy_j": energy.get(name, 0.0),
        }
        for i, name in enumerate(COMPONENTS)
        if area.value[0, i] > 0
    ]
    if accelerator.flash:  # a part of the phone, not of the chip
        none = {"area_mm2": 0.0, "area_low_mm2": 0.0, "area_high_mm2": 0.0}
        components.append({"name": "flash"} | none | {"energy_j": energy["flash"]})
    return Cost(
        parameters=workload.parameters,
        macs=workload.macs(),
        area_mm2=float(area.value.sum()),
        area_low_mm2=float(area.low.sum()),
        area_high_mm2=float(area.high.sum()),
        latency_s=sum(layer.latency_s for layer in layers.values()),
        latency_per_pass_s=per_pass,
        energy_j=sum(layer.energy_j for layer in layers.values()),
        dram_bytes=sum(layer.dram_bytes for layer in layers.values()),
        layers=[layer.record(name) for name, layer in layers.items()],
        components=components,
        **sizes,
    )


def _sizes(workload: Workload, accelerator: Accelerator, chosen: list[FormatPair]) -> dict[str, float]:
    """dram_capacity_bytes, weight_bytes and bitops; what `CostTables` sums by layer, here by operator.

    Raises InputError where the DRAM does not hold what has to be there.
    """
    weights, cache = layer_weights(workload), layer_cache(workload)
    grid, pairs = AcceleratorGrid.of([accelerator]), tuple(dict.fromkeys(chosen))
    ratio = dict(zip(pairs, compression_ratios(grid, pairs)[grid.codec[0]], strict=True))
    raw, stored, cached, peak, bitops = 0.0, 0.0, 0.0, 0.0, 0.0
    by_layer: dict[str, list[tuple[Operator, FormatPair]]] = defaultdict(list)
    for op, pair in zip(workload.operators, chosen, strict=True):
        by_layer[op.layer].append((op, pair))
    for layer, entries in by_layer.items():
        per_element = [operands(pair)[0].stored_bits / 8 for _, pair in entries]
        raw += weights[layer] * per_element[0]
        stored += weights[layer] * per_element[0] / ratio[entries[0][1]]
        cached += cache[layer] * sum(per_element) / len(per_element)
        for op, pair in entries:
            weight, activation = operands(pair)
            bitops += float(op.macs) * workload.repeats.get(op.phase, 1) * weight.bits * activation.bits
            peak = max(peak, sum(tensor_elements(op)) * activation.stored_bits / 8)
    others = cached + peak + other_bytes(workload)
    _check_capacity(workload, accelerator, stored, others)
    return {"dram_capacity_bytes": stored + others, "weight_bytes": raw, "bitops": bitops}


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


def _chosen_pairs(workload: Workload, accelerator: Accelerator, assignment: Assignment) -> list[FormatPair]:
    """The pair of each operator; every mistake of the assignment is an InputError here."""
    if not workload.operators:
        raise InputError(f"{workload.name}: a workload without operators has no cost")
    names = workload.layers
    unknown = next((layer for layer in assignment if layer not in names), None)
    if unknown is not None:
        raise InputError(f"{workload.name} has no layer '{unknown}'{nearest(unknown, names)}")
    given, chosen = dict(assignment.layers), []
    supported = set(accelerator.pairs)
    for op in workload.operators:
        if op.layer not in given:
            raise InputError(f"{workload.name}: the assignment gives no formats for layer '{op.layer}'")
        try:
            pair = given[op.layer].pair(op.kind)
        except ValueError as error:
            raise InputError(f"{workload.name}: layer '{op.layer}': {error}") from None
        if pair not in supported:
            offered = ", ".join(str(p) for p in accelerator.pairs)
            raise InputError(f"layer '{op.layer}' needs {pair}, which {accelerator.name} lacks; it supports {offered}")
        chosen.append(pair)
    return chosen
