"""Memory footprint of a network: weights, KV cache, live tensors and other parameters, in elements and bytes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from codesign.formats import FormatPair
from codesign.hardware.arithmetic.operands import Stored, operands
from codesign.hardware.units.coefficients import table
from codesign.workload.types import Operator, Workload

Size = TypeVar("Size", int, float, np.ndarray)
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
        cached: dict[tuple[str, str], int] = defaultdict(int)
        for op in workload.operators:
            cached[op.layer, op.phase] += cache_elements(op)
        weights, cache = weight_elements(workload), sum(largest(cached).values())
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
    first: dict[str, FormatPair] = {}
    stored: dict[FormatPair, float] = dict.fromkeys(chosen, 0.0)
    cached: dict[tuple[str, str], float] = defaultdict(float)
    peak, bitops = 0.0, 0.0
    for op, pair in zip(workload.operators, chosen, strict=True):
        weight, activation = (operand.stored for operand in operands(pair))
        first.setdefault(op.layer, pair)
        cached[op.layer, op.phase] += cache_elements(op) * weight.bytes_per_element(op.runs[0])
        bitops += float(op.macs) * workload.repeats.get(op.phase, 1) * weight.bits * activation.bits
        peak = max(peak, tensor_bytes(op, activation))
    for layer, op in stored_weights(workload).items():
        weight = operands(first[layer])[0].stored
        stored[first[layer]] += op.weight_elements * weight.bytes_per_element(op.runs[0])
    return NetworkSizes(stored, sum(largest(cached).values()) + peak + other_bytes(workload), bitops)


def layer_passes(workload: Workload) -> dict[str, int]:
    """Layer -> how often it runs for one result."""
    passes: dict[str, int] = defaultdict(int)
    for op in workload.operators:
        passes[op.layer] += workload.repeats.get(op.phase, 1) * op.calls
    return passes


def stored_weights(workload: Workload) -> dict[str, Operator]:
    """Layer -> the first operator with the largest weight of the layer, which is stored once for all phases."""
    found: dict[str, Operator] = {}
    for op in workload.operators:
        if op.layer not in found or op.weight_elements > found[op.layer].weight_elements:
            found[op.layer] = op
    return found


def weight_elements(workload: Workload) -> int:
    """Elements of the weights of all layers."""
    return sum(op.weight_elements for op in stored_weights(workload).values())


def cache_elements(op: Operator) -> int:
    """Elements of the KV cache that hold the stationary operand."""
    return op.kv_read_elements + op.kv_write_elements


def largest(by_phase: Mapping[tuple[str, str], Size]) -> dict[str, Size]:
    """(layer, phase) -> size, as layer -> its size in the phase where it is largest."""
    found: dict[str, Size] = {}
    for (layer, _), size in by_phase.items():
        found[layer] = np.maximum(found[layer], size) if layer in found else size  # per format in the tables
    return found


def other_bytes(workload: Workload) -> float:
    """Bytes of the parameters that are not weights of a layer: norms, biases, embeddings."""
    others = max(workload.parameters - weight_elements(workload), 0)
    return others * table("system.yaml", "other_parameters")["bits"].value / 8


def tensor_elements(op: Operator) -> tuple[int, int]:
    """(input, output) elements of the tensors that an operator reads and writes, without fused attention scores."""
    inputs = 0 if op.kind == "attention_pv" else op.input_elements
    outputs = 0 if op.kind == "attention_qk" else op.output_elements
    return inputs, outputs


def tensor_bytes(op: Operator, activation: Stored) -> float:
    """Bytes of the tensors of `tensor_elements`, in blocks along their channels."""
    (inputs, outputs), (_, of_input, of_output) = tensor_elements(op), op.runs
    return inputs * activation.bytes_per_element(of_input) + outputs * activation.bytes_per_element(of_output)
