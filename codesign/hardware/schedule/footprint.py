"""What of a network has to be stored: weights, KV cache, waiting tensors and the rest, in elements and bytes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from codesign.formats import FormatPair
from codesign.hardware.arithmetic.operands import operands
from codesign.hardware.units.coefficients import table
from codesign.workload.types import Operator, Workload

_RESERVED_BYTES = 2  # an element of what must be in DRAM, whatever its format turns out to be


@dataclass(frozen=True)
class Footprint:
    """What decides how much of the weights stays in SRAM and in DRAM, formats aside.

    weights, cache: elements of all layers, the cache at its fullest; waiting: elements of tensors that wait for a
    later product at the worst moment; reserved_bytes: of DRAM that cache, other parameters and the largest pair of
    activation tensors take at two bytes an element.
    """

    weights: int
    cache: int
    waiting: int
    reserved_bytes: float

    @classmethod
    def of(cls, workload: Workload) -> Footprint:
        weights, cache = sum(layer_weights(workload).values()), sum(layer_cache(workload).values())
        peak = max(sum(tensor_elements(op)) for op in workload.operators)
        reserved = other_bytes(workload) + _RESERVED_BYTES * (cache + peak)
        return cls(weights, cache, workload.waiting_elements, reserved)


@dataclass(frozen=True)
class NetworkSizes:
    """What one assignment makes of a network, before a codec: bytes of weights by pair of their layer, of what is in
    DRAM beside them (cache, other parameters, largest pair of activation tensors), and bitops.
    """

    weight_bytes: dict[FormatPair, float]
    other_bytes: float
    bitops: float


def network_sizes(workload: Workload, chosen: Sequence[FormatPair]) -> NetworkSizes:
    """`chosen`: the pair of each operator."""
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
    """How often each layer runs for one result."""
    passes: dict[str, int] = defaultdict(int)
    for op in workload.operators:
        passes[op.layer] += workload.repeats.get(op.phase, 1) * op.calls
    return passes


def layer_weights(workload: Workload) -> dict[str, int]:
    """Stored weight elements of each layer, once, however many phases use it."""
    found: dict[str, int] = dict.fromkeys(workload.layers, 0)
    for op in workload.operators:
        found[op.layer] = max(found[op.layer], op.weight_elements)
    return found


def layer_cache(workload: Workload) -> dict[str, int]:
    """KV-cache elements of each layer at its fullest."""
    by_phase: dict[tuple[str, str], int] = defaultdict(int)
    for op in workload.operators:
        by_phase[op.layer, op.phase] += op.kv_read_elements + op.kv_write_elements
    found: dict[str, int] = dict.fromkeys(workload.layers, 0)
    for (layer, _), elements in by_phase.items():
        found[layer] = max(found[layer], elements)
    return found


def other_bytes(workload: Workload) -> float:
    """Bytes of the parameters that no layer's weight holds: norms, biases, embeddings."""
    others = max(workload.parameters - sum(layer_weights(workload).values()), 0)
    return others * table("system.yaml", "other_parameters")["bits"].value / 8


def tensor_elements(op: Operator) -> tuple[int, int]:
    """(input, output) elements that exist outside of the operator: fused attention scores do not."""
    inputs = 0 if op.kind == "attention_pv" else op.input_elements
    outputs = 0 if op.kind == "attention_qk" else op.output_elements
    return inputs, outputs
