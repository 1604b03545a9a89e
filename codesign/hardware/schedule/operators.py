"""Cost of each operator of a workload on one accelerator: latency, bound, traffic and energy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import isfinite

import numpy as np

from codesign.errors import InputError, nearest
from codesign.formats import Assignment, FormatPair
from codesign.hardware.arithmetic.operands import operands
from codesign.hardware.chip.accelerator import Accelerator
from codesign.hardware.chip.grid import AcceleratorGrid
from codesign.hardware.schedule.footprint import Footprint, layer_passes
from codesign.hardware.schedule.machine import BOUNDS, Machine
from codesign.hardware.schedule.traffic import least_sram_bytes
from codesign.workload.types import Operator, Workload

_ENERGY_OF = {"mac_array": "mac_j", "sram": "sram_j", "dram_interface": "dram_j", "vector_unit": "vector_j"}


@dataclass(frozen=True)
class PricedOperator:
    """Cost of one pass of one operator, all calls."""

    operator: Operator
    pair: FormatPair
    repeat: int  # passes per result
    latency_s: float
    bound: str  # one of BOUNDS
    dram_bytes: float
    peak_macs_per_s: float  # of the array, in this pair
    energy_j: dict[str, float]  # by component


def price_operators(workload: Workload, accelerator: Accelerator, assignment: Assignment) -> tuple[PricedOperator, ...]:
    """The cost of every operator of `workload`, in order.

    Raises InputError if the assignment lacks a layer, names an unknown one or gives a layer a pair that the accelerator
    does not support, or if the smallest tile of a product does not fit the SRAM.
    """
    return tuple(_priced(workload, accelerator, chosen_pairs(workload, accelerator, assignment)))


def _priced(workload: Workload, accelerator: Accelerator, chosen: list[FormatPair]) -> Iterator[PricedOperator]:
    pairs = tuple(dict.fromkeys(chosen))
    entries = np.arange(len(pairs))
    grid = AcceleratorGrid.of([accelerator])
    machine = Machine(grid, pairs, Footprint.of(workload), entries, np.zeros_like(entries))
    passes, units = layer_passes(workload), accelerator.rows * accelerator.columns
    components = _ENERGY_OF | ({"flash": "flash_j"} if accelerator.flash else {})
    run = cache(machine.run)
    for op, pair in zip(workload.operators, chosen, strict=True):
        c, result = pairs.index(pair), run(op.anonymous, passes[op.layer])
        times = {bound: float(getattr(result, f"{bound}_s")[c]) for bound in BOUNDS}
        if not isfinite(times["dram"]):
            weight, activation = (operand.stored for operand in operands(pair))
            of_weight, of_input, _ = op.runs
            least = least_sram_bytes(weight.bytes_per_element(of_weight), activation.bytes_per_element(of_input)) / 1024
            raise InputError(
                f"{accelerator.name}: {accelerator.sram_bytes} bytes of SRAM hold no tile of layer '{op.layer}' "
                f"in {pair}; it takes at least {least:g} KiB"
            )
        yield PricedOperator(
            operator=op,
            pair=pair,
            repeat=workload.repeats.get(op.phase, 1),
            latency_s=float(result.latency_s[c]),
            bound=max(times, key=lambda bound: times[bound]),
            dram_bytes=float(result.dram_bytes[c]),
            peak_macs_per_s=accelerator.reached_hz * units * float(machine.depth[c]),
            energy_j={name: float(getattr(result, key)[c]) for name, key in components.items()},
        )


def chosen_pairs(workload: Workload, accelerator: Accelerator, assignment: Assignment) -> list[FormatPair]:
    """The pair of each operator; raises InputError as `operator_pairs`, and if the accelerator lacks a pair."""
    if not workload.operators:
        raise InputError(f"{workload.name}: a workload without operators has no cost")
    chosen, supported = operator_pairs(workload, assignment), set(accelerator.pairs)
    for op, pair in zip(workload.operators, chosen, strict=True):
        if pair.datapath not in supported:
            offered = ", ".join(str(p) for p in accelerator.pairs)
            raise InputError(f"layer '{op.layer}' needs {pair}, which {accelerator.name} lacks; it supports {offered}")
    return chosen


def operator_pairs(workload: Workload, assignment: Assignment) -> list[FormatPair]:
    """The pair of each operator; raises InputError if the assignment's layers are not those of `workload`."""
    given, names = dict(assignment.layers), workload.layers
    unknown = next((layer for layer in given if layer not in names), None)
    if unknown is not None:
        raise InputError(f"{workload.name} has no layer '{unknown}'{nearest(unknown, names)}")
    chosen = []
    for op in workload.operators:
        if op.layer not in given:
            raise InputError(f"{workload.name}: the assignment gives no formats for layer '{op.layer}'")
        try:
            chosen.append(given[op.layer].pair(op.kind))
        except ValueError as error:
            raise InputError(f"{workload.name}: layer '{op.layer}': {error}") from None
    return chosen
