"""What-if analysis: the cost of a design with one change of memory, array or formats at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial

from codesign.errors import InputError
from codesign.formats import Assignment, FormatPair, LayerFormats
from codesign.hardware.chip.accelerator import Accelerator
from codesign.hardware.schedule.cost import cost
from codesign.workload.types import Workload

FIGURES = ("area_mm2", "latency_s", "energy_j", "dram_bytes", "dram_capacity_bytes")
Change = Callable[[Accelerator], Accelerator]

CHANGES: Mapping[str, Change] = {
    "2x SRAM": lambda a: replace(a, sram_bytes=2 * a.sram_bytes),
    "half SRAM": lambda a: replace(a, sram_bytes=a.sram_bytes // 2),
    "2x DRAM channels": lambda a: replace(a, dram_channels=2 * a.dram_channels),
    "LPDDR6": lambda a: replace(a, dram="lpddr6_14400"),
    "2x rows": lambda a: replace(a, rows=2 * a.rows),
    "2x columns": lambda a: replace(a, columns=2 * a.columns),
    "2x vector lanes": lambda a: replace(a, vector_lanes=2 * a.vector_lanes),
    "compressed weights": lambda a: replace(a, codec="huffman"),
}
# Formats of all layers, on a unit that supports only these.
FORMATS: Mapping[str, FormatPair] = {
    "INT8 units": FormatPair("int8", "int8"),
    "FP8 units": FormatPair("fp8_e4m3", "fp8_e4m3"),
    "INT4 weights": FormatPair("int4_g32", "int8"),
    "INT4 units": FormatPair("int4", "int4"),
    "MXFP4 units": FormatPair("mxfp4", "mxfp4"),
}


@dataclass(frozen=True)
class Variant:
    """The cost with one change; figures are None if the change is not possible."""

    name: str
    requantized: bool  # the formats change, and with them the quality
    problem: str = ""  # why the change is not possible
    area_mm2: float | None = None
    latency_s: float | None = None
    energy_j: float | None = None
    dram_bytes: float | None = None
    dram_capacity_bytes: float | None = None

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def what_if(workload: Workload, accelerator: Accelerator, assignment: Assignment) -> list[Variant]:
    """The cost with each of CHANGES, and with each of FORMATS unless the assignment already uses it."""
    found = [_variant(name, change, workload, accelerator, assignment) for name, change in CHANGES.items()]
    kinds = workload.layer_kinds()
    for name, pair in FORMATS.items():
        uniform = Assignment.of({n: LayerFormats.of_pair(pair, attention=k == "attention") for n, k in kinds.items()})
        if uniform != assignment:
            unit = partial(replace, pairs=(pair,), accumulator="auto")
            found.append(_variant(name, unit, workload, accelerator, uniform, requantized=True))
    return found


def _variant(
    name: str,
    change: Change,
    workload: Workload,
    accelerator: Accelerator,
    assignment: Assignment,
    requantized: bool = False,
) -> Variant:
    try:
        result = cost(workload, change(accelerator), assignment)
    except InputError as error:
        return Variant(name, requantized, problem=str(error))
    figures = {figure: getattr(result, figure) for figure in FIGURES}
    return Variant(name, requantized, **figures)
