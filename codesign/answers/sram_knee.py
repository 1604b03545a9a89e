"""How DRAM traffic of a U-Net falls with the SRAM, and where more of it stops to pay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from codesign.answers.answer import Answer, Column, Estimate, Table, Value
from codesign.answers.question import Numbers, Options, Pair, Question, Say
from codesign.formats import Assignment, FormatPair
from codesign.hardware import Accelerator, AcceleratorGrid, AssignmentTotals, load_accelerator
from codesign.hardware.arithmetic.operands import operands
from codesign.hardware.chip.area import areas
from codesign.hardware.units.coefficients import table
from codesign.workload import Workload, named_workload

_SIZES_KIB = tuple(round(256 * 2 ** (i / 2)) for i in range(17))  # 256 KiB to 64 MiB


class KneeOptions(Options):
    network: Annotated[str, Field(description="a diffusion network, without its image (codesign workloads)")] = (
        "sd15-unet"
    )
    images: Annotated[Numbers, Field(description="image sides in pixels")] = (512, 1024)
    formats: Annotated[Pair, Field(description="formats of all layers")] = "int8"
    accelerator: Annotated[str, Field(description="chip whose SRAM is varied: a preset or a file")] = "phone-npu-medium"


def knee(sizes: Sequence[float], traffic: npt.NDArray[np.float64]) -> int:
    """Index of the knee of a falling curve: the point farthest below the straight line between its ends, both axes
    logarithmic, as a factor of traffic is weighed against a factor of SRAM.

    Source: V. Satopää et al., Finding a "Kneedle" in a Haystack, ICDCS Workshops 2011, without its smoothing.
    """
    x, y = np.log(np.asarray(sizes, dtype=np.float64)), np.log(traffic)
    x, y = (x - x[0]) / (x[-1] - x[0]), (y - y[-1]) / (y[0] - y[-1])
    return int((1 - x - y).argmax())


def _knee(options: KneeOptions, say: Say) -> Answer:
    base = load_accelerator(options.accelerator)
    chip = replace(base, pairs=(FormatPair.parse(options.formats),), accumulator="auto")
    tables, estimates, texts, bounds = [], [], [], []
    for image in options.images:
        say(f"{image:g} pixels")
        workload = named_workload(f"{options.network}:image={image:g}")
        curve = _curve(workload, chip, options.formats)
        at = knee([row["sram_kib"] for row in curve], np.array([row["dram_bytes"] for row in curve]))
        tables.append(_table(image, workload, curve, at))
        size, first, last = curve[at], curve[0], curve[-1]
        gb = [f"{row['dram_bytes'] / 1e9:.3g}" for row in (size, first, last)]
        texts.append(
            f"{image:g} pixels: the knee is at {size['sram_kib'] / 1024:.3g} MiB, with {gb[0]} GB a pass instead of "
            f"{gb[1]} with {first['sram_kib'] / 1024:.3g} MiB and {gb[2]} with {last['sram_kib'] / 1024:.3g} MiB."
        )
        weights, room = _weights(workload, options.formats), table("system.yaml", "shares")["activations"].value / 2
        elements, name, held = _largest(workload, options.formats)
        estimates += [
            Estimate(
                f"knee: the largest tensors stay, {image:g} pixels", held / room, size["sram_kib"] * 1024, "B",
                f"{elements:,} elements ({name}), {held / 2**20:.3g} MiB, in the {room:g} of the SRAM that holds one "
                "tensor between two layers",
            ),
            Estimate(
                f"least traffic of a pass, {image:g} pixels", weights, last["dram_bytes"], "B",
                "all weights once",
            ),
        ]  # fmt: skip
        bounds.append(
            f"{image:g} pixels: below the knee tensors between layers are written to DRAM and read again, and tiles of "
            f"them with their weights; at the knee {weights / size['dram_bytes']:.0%} of the traffic are weights, "
            "which come once a pass however large the SRAM is"
        )
    return Answer(
        question=f"How much SRAM does {options.network} need before more of it stops to pay?",
        answer=" ".join(texts),
        tables=tuple(tables),
        estimates=tuple(estimates),
        bounds=tuple(bounds),
        assumptions=(
            f"{options.accelerator} with units of {options.formats} alone and the SRAM varied in steps of the square "
            "root of two; batch 1, one pass",
            "half of the SRAM is for tensors between layers, one half of that read while the other is written; a "
            "quarter is for tiles, an eighth each for tensors that stay live and for weights that stay",
            "the knee is the point farthest below the line between the ends of the curve, both axes logarithmic",
        ),
    )


def _curve(workload: Workload, chip: Accelerator, pair: str) -> list[dict[str, float]]:
    """Traffic, latency and energy of a pass, and the area, for every size of the SRAM."""
    grid = AcceleratorGrid.of([replace(chip, name=f"{kib}", sram_bytes=kib * 1024) for kib in _SIZES_KIB])
    costs = AssignmentTotals(workload, [Assignment.uniform(workload, pair)]).on(grid)
    passes = sum(workload.repeats.get(phase, 1) for phase in workload.phases)
    area = areas(grid)
    return [
        {
            "sram_kib": float(kib),
            "dram_bytes": float(costs["dram_bytes"][i, 0]) / passes,
            "latency_s": float(costs["latency_s"][i, 0]) / passes,
            "energy_j": float(costs["energy_j"][i, 0]) / passes,
            "area_mm2": float(area.value[i].sum()),
            "area_low_mm2": float(area.low[i].sum()),
            "area_high_mm2": float(area.high[i].sum()),
        }
        for i, kib in enumerate(_SIZES_KIB)
    ]


def _table(image: float, workload: Workload, curve: list[dict[str, float]], at: int) -> Table:
    columns = (
        Column("sram_mib", "SRAM, MiB"),
        Column("dram_bytes", "DRAM traffic", "B"),
        Column("more", "less by the last step", "%"),
        Column("latency_s", "latency", "s"),
        Column("energy_j", "energy", "J"),
        Column("area_mm2", "area of the chip", "mm2"),
        Column("area", "interval of the area, mm2"),
        Column("knee", ""),
    )
    rows: list[Mapping[str, Value]] = []
    for i, row in enumerate(curve):
        saved = 1 - row["dram_bytes"] / curve[i - 1]["dram_bytes"] if i else None
        area = f"{row['area_low_mm2']:.3g} to {row['area_high_mm2']:.3g}"
        mark = "knee" if i == at else ""
        rows.append({**row, "sram_mib": f"{row['sram_kib'] / 1024:.3g}", "more": saved, "area": area, "knee": mark})
    return Table(
        f"one pass at {image:g} pixels ({workload.macs(workload.phases[0]) / 1e9:.4g} G MACs)", columns, tuple(rows)
    )


def _largest(workload: Workload, pair: str) -> tuple[int, str, float]:
    """(elements, first layer, bytes) of the tensor size that fills most of the tensors' bytes between layers."""
    stored = operands(FormatPair.parse(pair))[1].stored
    sizes: dict[int, float] = {}
    names: dict[int, str] = {}
    for op in workload.operators:
        if not op.is_attention:
            sizes[op.output_elements] = sizes.get(op.output_elements, 0.0) + op.output_elements
            names.setdefault(op.output_elements, op.layer)
    most = max(sizes, key=lambda elements: sizes[elements])
    return most, names[most], most * stored.bits / 8


def _weights(workload: Workload, pair: str) -> float:
    """Bytes of all weights."""
    stored = operands(FormatPair.parse(pair))[0].stored
    return sum(op.weight_elements for op in workload.operators) * stored.bits / 8


KNEE = Question(
    "sram-knee",
    "how DRAM traffic of a U-Net at 512 and 1024 pixels falls with the SRAM, and where more of it stops to pay",
    KneeOptions,
    _knee,
)
