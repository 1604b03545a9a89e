"""Memory footprint of a network: weights, KV cache, live tensors and other parameters, in elements and bytes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from codesign.formats import FormatPair
from codesign.hardware.arithmetic.operands import operands
from codesign.hardware.units.coefficients import table
from codesign.workload.types import Operator, Workload

_RESERVED_BYTES = 2  # assumed per element of cache and activations in DRAM, whatever their format


@dataclass(frozen=True)
class Footprint:
    """Sizes that determine which fraction of the weights stays in SRAM and in DRAM, independent of the formats."""

    weights: int  # elements of all layers
    cache: int  # elements of the KV cache at its largest
    live: int  # elements that are live across a product, at the peak
    reserved_bytes: float  # DRAM for KV cache, other parameters and the largest activations, at two bytes per element

    @classmethod
    def of(cls, workload: Workload) -> Footprint:
        weights, cache = sum(layer_weights(workload).values()), sum(layer_cache(workload).values())
        peak = max(sum(tensor_elements(op)) for op in workload.operators)
        reserved = other_bytes(workload) + _RESERVED_BYTES * (cache + peak)
        return cls(weights, cache, workload.peak_live_elements, reserved)


@dataclass(frozen=True)
class NetworkSizes:
    """Sizes of a network under one assignment."""

    weight_bytes: dict[FormatPair, float]  # by the pair of the layer, before compression
    other_bytes: float  # KV cache, other parameters, largest input and output of an operator
    bitops: float  # MACs x weight bits x activation bits, per result


def network_sizes(workload: Workload, chosen: Sequence[FormatPair]) -> NetworkSizes:
    """Sizes of `workload` with the pairs `chosen`, one per operator."""
    weights, cache = layer_weights(workload), layer_cache(workload)
    stored: dict[FormatPair, float] = dict.fromkeys(chosen, 0.0)
    cached, peak, bitops = 0.0, 0.0, 0.0
    by_layer: dict[str, list[FormatPair]] = defaultdict(list)
    for op, pair in zip(workload.operators, chosen, strict=True):
        weight, activation = operands(pair)
        by_layer[op.layer].append(pair)
        bitops += float(op.macs) * workload.repeats.get(op.phase, 1) * weight.bits * activation.bits
        peak = max(peak, sum(tensor_elements(op)) * activation.stored_bits / 8)
    for layer, pairs in by_layer.items():
        per_element = [operands(pair)[0].stored_bits / 8 for pair in pairs]
        stored[pairs[0]] += weights[layer] * per_element[0]
        cached += cache[layer] * sum(per_element) / len(per_element)
    return NetworkSizes(stored, cached + peak + other_bytes(workload), bitops)


def layer_passes(workload: Workload) -> dict[str, int]:
    """Layer -> how often it runs for one result."""
    passes: dict[str, int] = defaultdict(int)
    for op in workload.operators:
        passes[op.layer] += workload.repeats.get(op.phase, 1) * op.calls
    return passes


def layer_weights(workload: Workload) -> dict[str, int]:
    """Layer -> elements of its stored weight, counted once for all phases."""
    found: dict[str, int] = dict.fromkeys(workload.layers, 0)
    for op in workload.operators:
        found[op.layer] = max(found[op.layer], op.weight_elements)
    return found


def layer_cache(workload: Workload) -> dict[str, int]:
    """Layer -> elements of its KV cache at its largest."""
    by_phase: dict[tuple[str, str], int] = defaultdict(int)
    for op in workload.operators:
        by_phase[op.layer, op.phase] += op.kv_read_elements + op.kv_write_elements
    found: dict[str, int] = dict.fromkeys(workload.layers, 0)
    for (layer, _), elements in by_phase.items():
        found[layer] = max(found[layer], elements)
    return found


def other_bytes(workload: Workload) -> float:
    """Bytes of the parameters that are not weights of a layer: norms, biases, embeddings."""
    others = max(workload.parameters - sum(layer_weights(workload).values()), 0)
    return others * table("system.yaml", "other_parameters")["bits"].value / 8


def tensor_elements(op: Operator) -> tuple[int, int]:
    """(input, output) elements of the tensors that an operator reads and writes, without fused attention scores."""
    inputs = 0 if op.kind == "attention_pv" else op.input_elements
    outputs = 0 if op.kind == "attention_qk" else op.output_elements
    return inputs, outputs
