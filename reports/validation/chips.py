"""Published areas of whole accelerators against what the model of areas says, written to chips.md.

    python reports/validation/chips.py

Nothing is fitted here. What a source does not say (formats, memories beside the named ones) is assumed, and the
assumption stands beside the row; "implied overhead" is the `array_overhead` (system.yaml) with which the model would
meet the figure if the array alone were to blame.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from codesign.formats import FormatPair
from codesign.hardware import Accelerator, AcceleratorGrid
from codesign.hardware.chip.area import areas
from codesign.hardware.chip.axes import COMPONENTS
from codesign.hardware.units.coefficients import table
from codesign.hardware.units.mac import MacUnit

HERE = Path(__file__).parent
_SYSTEM = table("system.yaml", "area")
INT8 = (FormatPair("int8", "int8"),)
# NVDLA's full configuration multiplies INT8, INT16 and FP16 on the same multipliers, INT8 at twice the rate of both
# (nvdla.org, hardware architecture); the primer does not say which of them its table has
FULL = tuple(FormatPair(name, name) for name in ("int8", "int16", "fp16"))
# MACs, kB of convolution buffer, mm2 at 28 nm, mm2 at 16 nm
NVDLA = (
    (2048, 512, 5.5, 3.3),
    (1024, 256, 3.0, 1.8),
    (512, 256, 2.3, 1.4),
    (256, 256, 1.7, 1.0),
    (128, 256, 1.4, 0.84),
    (64, 128, 0.91, 0.55),
    (32, 128, 0.85, 0.51),
)
NVDLA_SOURCE = "NVDLA primer, nvdla.org: synthesis area with memories"
_SDP_LANES = 16  # of NVDLA's single point processor, at most: one activation a cycle each


@dataclass(frozen=True)
class Row:
    """A published area and the model's."""

    figure: str
    formats: str
    source: str
    published_mm2: float
    value_mm2: float
    low_mm2: float
    high_mm2: float
    implied_overhead: float  # array_overhead that would meet the figure

    @property
    def ratio(self) -> float:
        return self.value_mm2 / self.published_mm2


@dataclass(frozen=True)
class Area:
    """Components of an accelerator in mm2 at one end of the interval."""

    array: float
    vector: float
    control: float
    sram: float

    @property
    def sum(self) -> float:
        return self.array + self.vector + self.control + self.sram


def area(chip: Accelerator, *, cells: bool) -> dict[str, Area]:
    """Areas without the DRAM interface, by end; cells: of cells before they are placed, as synthesis counts them."""
    found = areas(AcceleratorGrid.of([chip]))
    ends = {}
    other = {"value": "value", "low": "high", "high": "low"}
    for end in other:
        of = dict(zip(COMPONENTS, getattr(found, end)[0].tolist(), strict=True))
        placed = float(getattr(_SYSTEM["placement"], other[end])) if cells else 1.0
        logic = (of[name] * placed for name in ("mac_array", "vector_unit", "control"))
        ends[end] = Area(*logic, of["sram"])
    return ends


def row(figure: str, formats: str, source: str, published: float, chip: Accelerator, *, cells: bool) -> Row:
    ends = area(chip, cells=cells)
    value, control = ends["value"], 1 + _SYSTEM["control"].value
    bare = value.array / _SYSTEM["array_overhead"].value
    implied = ((published - value.sram) / control - value.vector) / bare
    return Row(figure, formats, source, published, value.sum, ends["low"].sum, ends["high"].sum, implied)


def nvdla(macs: int, buffer: int, node: float, pairs: Sequence[FormatPair]) -> Accelerator:
    """NVDLA with `macs` of INT8 in rows of at most 64; at 28 nm the model's float step misses 1 GHz, so half of it."""
    lanes = macs // _per_lane(pairs)
    dot = min(64, lanes)
    return Accelerator(
        name="nvdla", pairs=tuple(pairs), accumulator="auto", dot=dot, rows=lanes // dot, columns=1,
        sram_bytes=buffer * 1024, dram="lpddr5", dram_channels=1, clock_hz=0.5e9, node_nm=node,
        vector_lanes=min(_SDP_LANES, max(1, macs // 64)),
    )  # fmt: skip


def _per_lane(pairs: Sequence[FormatPair]) -> int:
    """Products of INT8 that a lane of the published chips makes; the model's units could make 4 beside INT16."""
    return 1 if tuple(pairs) == INT8 else 2


def rows() -> list[Row]:
    found = []
    for macs, buffer, *published in NVDLA:
        for node, mm2 in zip((28, 16), published, strict=True):
            for name, pairs in (("int8", INT8), ("int8, int16, fp16", FULL)):
                chip = nvdla(macs, buffer, node, pairs)
                figure = f"NVDLA, {macs} MACs, {buffer} kB, {node} nm"
                found.append(row(figure, name, NVDLA_SOURCE, mm2, chip, cells=True))
    return [*found, _tpu(), _samsung()]


def _tpu() -> Row:
    """The matrix unit and the unified buffer of TPU v1: 24 % and 29 % of at most 331 mm2."""
    chip = Accelerator(
        name="tpu", pairs=INT8, accumulator="int32", dot=1, rows=256, columns=256, sram_bytes=24 * 2**20,
        dram="lpddr5", dram_channels=1, clock_hz=0.7e9, node_nm=28, vector_lanes=1,
    )  # fmt: skip
    source = "Jouppi et al. 2017: 53 % of a die of at most 331 mm2"
    return row("TPU v1, matrix unit and unified buffer, 28 nm", "int8", source, 0.53 * 331, chip, cells=False)


def _samsung() -> Row:
    """Samsung's NPU of 8,192 MACs, half of them in FP16: peak over its density; the memory is assumed."""
    clock, sram = 1.2e9, 2 * 2**20
    pairs = tuple(FormatPair(name, name) for name in ("int4", "int8", "int16", "fp16"))
    chip = Accelerator(
        name="samsung", pairs=pairs, accumulator="auto", dot=16, rows=64, columns=8 // _per_lane(pairs),
        sram_bytes=sram, dram="lpddr5", dram_channels=1, clock_hz=1e9, node_nm=4, vector_lanes=64,
    )  # fmt: skip
    source = "IEEE JSSC 58(1), 2023: 3.45 TOPS/mm2; 1.2 GHz and 2 MiB are assumed"
    mm2 = 2 * 8192 * clock / 3.45e12
    return row("Samsung NPU of 8,192 MACs, 4 nm", "int4, int8, int16, fp16", source, mm2, chip, cells=False)


def slopes() -> list[dict[str, float]]:
    """Cell area that each further MAC of NVDLA takes, between neighbours with equal buffers: um2."""
    found = []
    for (more, buffer, *large), (less, same, *small) in itertools.pairwise(NVDLA):
        if buffer != same:
            continue
        for node, high, low in zip((28, 16), large, small, strict=True):
            units = {name: _lane_um2(pairs, node) for name, pairs in (("int8", INT8), ("full", FULL))}
            found.append(
                {"from": less, "to": more, "node_nm": node, "um2": (high - low) * 1e6 / (more - less), **units}
            )
    return found


def _lane_um2(pairs: Sequence[FormatPair], node: float) -> float:
    unit = MacUnit(tuple(pairs), dot=32, node_nm=node, clock_ghz=0.5)
    return unit.area_um2.value / (unit.dot * _per_lane(pairs))


def _page(found: list[Row], steps: list[dict[str, float]]) -> str:
    head = (
        "# Areas of whole accelerators: predicted against published\n\n"
        "Written by `python reports/validation/chips.py`. The model's constants were not fitted to these figures, but "
        "for `array_overhead`: its middle is from TPU v1, its ends are from this page. Interfaces to DRAM are left "
        "out. Overhead: the `array_overhead` that would meet the figure.\n\n"
        "| accelerator | formats assumed | published, mm2 | model, mm2 | interval | model / published | overhead |\n"
        "|---|---|--:|--:|---|--:|--:|\n"
    )
    lines = [
        f"| {each.figure} | {each.formats} | {each.published_mm2:.3g} | {each.value_mm2:.3g} | {each.low_mm2:.3g} to "
        f"{each.high_mm2:.3g} | {each.ratio:.2f} | {each.implied_overhead:.1f} |"
        for each in found
    ]
    steps_head = (
        "\n\n## What one more MAC takes\n\nCell area of NVDLA between neighbours with the same buffer, over their "
        "difference in MACs, beside a lane of the model's units (cells, without overhead).\n\n"
        "| MACs | node, nm | published, um2 | INT8 lane | INT8, INT16 and FP16 lane | over the latter |\n"
        "|---|--:|--:|--:|--:|--:|\n"
    )
    table_of_steps = [
        f"| {each['from']:.0f} to {each['to']:.0f} | {each['node_nm']:.0f} | {each['um2']:.0f} | {each['int8']:.0f} | "
        f"{each['full']:.0f} | {each['um2'] / each['full']:.1f} |"
        for each in steps
    ]
    sources = "\n".join(f"- {source}" for source in dict.fromkeys(each.source for each in found))
    return (
        head + "\n".join(lines) + steps_head + "\n".join(table_of_steps)
        + f"\n\n## What the misses say\n\n{_explained(found, steps)}\n\n## Sources\n\n{sources}\n"
    )  # fmt: skip


def _explained(found: list[Row], steps: list[dict[str, float]]) -> str:
    """What the figures say of the model, by its parts."""
    full = [each for each in found if each.figure.startswith("NVDLA") and "fp16" in each.formats]
    large = [each for each in full if int(each.figure.split()[1]) >= 512]
    small = [each for each in full if int(each.figure.split()[1]) <= 64]
    over = [each["um2"] / each["full"] for each in steps]
    missing = [each.published_mm2 - each.value_mm2 for each in small if "28 nm" in each.figure]
    whole = [each for each in found if each.formats != "int8" or "TPU" in each.figure]
    inside = sum(each.low_mm2 <= each.published_mm2 <= each.high_mm2 for each in whole)
    return (
        f"- {inside} of {len(whole)} figures lie in the interval of the model, NVDLA taken with all of its formats.\n"
        "- The primer's area of NVDLA fits units of INT8, INT16 and FP16, the full configuration: with them the model "
        f"gives {min(e.ratio for e in large):.2f} to {max(e.ratio for e in large):.2f} of it from 512 MACs on; with "
        "units of INT8 alone the array would need an overhead of 8 and more.\n"
        f"- A further MAC takes {min(over):.1f} to {max(over):.1f} times a lane of the model's cells: buffers of sums, "
        "operand registers, the reading of the convolution buffer. With TPU v1 (at most, as only a bound of its die is "
        "known) and Samsung's chip these are the ends of `array_overhead` in system.yaml, 1.1 to 4.\n"
        f"- Small cores are larger than the model says by {min(missing):.2g} to {max(missing):.2g} mm2 at 28 nm: DMA, "
        "registers, pooling and reshaping engines, which do not grow with the array, while the model's control is a "
        "share of the array. At 4 nm that is below 0.1 mm2; it matters for chips below half a square millimetre.\n"
        "- TPU v1 by itself: its buffer of 24 MiB is named 29 % of at most 331 mm2, 2.6 times what the bit cells of "
        "28 nm take in the model, as much as its matrix unit exceeds the model's cells: either the die is smaller, or "
        "its memories have more ports."
    )


def main() -> None:
    found, steps = rows(), slopes()
    written = {"chips": [asdict(each) for each in found], "slopes": steps}
    (HERE / "chips.json").write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    (HERE / "chips.md").write_text(_page(found, steps), encoding="utf-8")


if __name__ == "__main__":
    main()
