"""Whether FP8 or INT8 is the better buy: area, energy, latency and measured quality of otherwise equal chips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from codesign.answers.answer import Answer, Column, Estimate, Table, Value
from codesign.answers.chips import CHIP, Found, Mix
from codesign.answers.question import Names, Node, Options, Pair, Question, Say
from codesign.errors import InputError
from codesign.formats import Assignment, FormatPair
from codesign.hardware import Accelerator, load_accelerator
from codesign.hardware.arithmetic.accumulators import Accumulator
from codesign.hardware.arithmetic.operands import operands
from codesign.workload import Workload, named_workload

if TYPE_CHECKING:
    from codesign.quality import Quality


class BuyOptions(Options):
    first: Annotated[Pair, Field(description="formats of one chip")] = "fp8_e4m3"
    second: Annotated[Pair, Field(description="formats of the other")] = "int8"
    network: Annotated[str, Field(description="network that is costed (codesign workloads)")] = "sd15-unet:steps=20"
    tasks: Annotated[Names, Field(description="bundled networks whose quality is measured; none: no quality")] = (
        "restore",
        "rewrite",
    )
    accelerator: Annotated[str, Field(description="chip whose units are exchanged: a preset or a file")] = (
        "phone-npu-medium"
    )
    accumulators: Annotated[Names, Field(description="accumulators of the first formats' units")] = (
        "auto",
        "exact",
        "fp32",
    )
    node: Annotated[Node, Field(description="process node in nm")] = 4.0


@dataclass(frozen=True)
class _Measured:
    """Quality of a bundled network in both formats."""

    task: str
    first: Quality
    second: Quality

    @property
    def better(self) -> int:
        """1 or 2, whose interval lies below the other's; 0 if they overlap."""
        if self.first.high < self.second.low:
            return 1
        return 2 if self.second.high < self.first.low else 0


def _buy(options: BuyOptions, say: Say) -> Answer:
    workload = named_workload(options.network)
    base = load_accelerator(options.accelerator)
    chips = [("", _chip(base, workload, options.second, "auto", options.node))]
    for accumulator in options.accumulators:
        say(f"{options.first}, accumulator {accumulator}")
        chips.append((accumulator, _chip(base, workload, options.first, accumulator, options.node)))
    reference = chips[0][1]
    if "none" in options.tasks and len(options.tasks) > 1:
        raise InputError("tasks: 'none' stands alone")
    measured = [] if "none" in options.tasks else [_measure(name, options, say) for name in options.tasks]
    tables = [_units(chips), _table(chips, reference), *([_quality(options, measured)] if measured else [])]
    usual = chips[1][1]
    return Answer(
        question=f"{options.first} or {options.second}: which is the better buy?",
        answer=_verdict(options, reference, usual, measured),
        tables=tuple(tables),
        estimates=tuple(_by_hand(reference, usual)),
        bounds=tuple(f"{found.formats}: latency bound by {found.bound}" for _, found in chips[:2]),
        assumptions=(
            f"{options.accelerator} at {options.node:g} nm with the units exchanged and all else equal; at equal area "
            "the first array is made larger or smaller until the chips are equal, as only it scales",
            "quality: round to nearest after the usual preparation and ranges, all layers and attention products in "
            "one format: a loss, smaller is better, with its 95 % interval",
        ),
    )


def _chip(base: Accelerator, workload: Workload, pair: str, accumulator: str, node: float) -> Found:
    chip = replace(base, pairs=(FormatPair.parse(pair),), accumulator=accumulator, node_nm=node)
    return Found.of(workload, chip, Mix.uniform(workload, pair))


def _units(chips: list[tuple[str, Found]]) -> Table:
    rows: list[Mapping[str, Value]] = []
    for _, found in chips:
        unit = found.chip.unit
        area, energy = unit.area_um2, unit.energy_pj(unit.pairs[0])
        rows.append(
            {
                "formats": found.formats,
                "accumulator": ", ".join(dict.fromkeys(_sums(mode.accumulator) for mode in unit.rtl.modes)),
                "area_um2": area.value / unit.dot,
                "area": f"{area.low / unit.dot:.3g} to {area.high / unit.dot:.3g}",
                "area_ratio": area.value / chips[0][1].chip.unit.area_um2.value,
                "energy_pj": energy.value,
                "energy": f"{energy.low:.3g} to {energy.high:.3g}",
                "energy_ratio": energy.value / _energy(chips[0][1]),
            }
        )
    columns = (
        Column("formats", "formats"),
        Column("accumulator", "accumulator"),
        Column("area_um2", "area of a lane, um2"),
        Column("area", "interval, um2"),
        Column("area_ratio", "x"),
        Column("energy_pj", "energy of a MAC, pJ"),
        Column("energy", "interval, pJ"),
        Column("energy_ratio", "x"),
    )
    return Table(f"units of dot-{chips[0][1].chip.dot} (x: over {chips[0][1].formats})", columns, tuple(rows))


def _sums(accumulator: Accumulator) -> str:
    """An accumulator in words."""
    window = f", products aligned to {accumulator.window} bits" if accumulator.window else ""
    return f"{accumulator.kind} of {accumulator.bits} bits{window}"


def _energy(found: Found) -> float:
    unit = found.chip.unit
    return unit.energy_pj(unit.pairs[0]).value


def _table(chips: list[tuple[str, Found]], reference: Found) -> Table:
    """The chips, and the latency of an array that is scaled to the area of the reference."""
    rows = []
    for accumulator, found in chips:
        array = next(part.area_mm2 for part in found.cost.components if part.name == "mac_array")
        spare = reference.cost.area_mm2 - found.cost.area_mm2
        lanes = 1 + spare / array
        compute = sum(share for bound, share in found.bounds.items() if bound in ("compute", "sram"))
        latency = found.cost.latency_s * (1 - compute + compute / lanes) if lanes > 0 else None
        rows.append(
            found.row(
                accumulator=accumulator or "auto",
                area_ratio=found.cost.area_mm2 / reference.cost.area_mm2,
                energy_ratio=found.cost.energy_j / reference.cost.energy_j,
                equal_latency_s=latency,
            )
        )
    columns = (
        Column("accumulator", "accumulator"),
        Column("area_ratio", "area, x"),
        Column("energy_ratio", "energy, x"),
        Column("latency_s", "latency", "s"),
        Column("equal_latency_s", "latency at equal area", "s"),
        *CHIP,
    )
    return Table(f"chips (x: over {reference.formats})", columns, tuple(rows))


def _measure(name: str, options: BuyOptions, say: Say) -> _Measured:
    from codesign.models import load_task  # with torch, and so not before it is needed
    from codesign.models.preparation import prepared_by
    from codesign.quality import Evaluator

    task = prepared_by(load_task(name), ("usual",))
    evaluator, workload = Evaluator(task), task.workload()
    found = []
    for pair in (options.first, options.second):
        say(f"quality of {name} in {pair}")
        found.append(evaluator(Assignment.uniform(workload, pair)))
    return _Measured(name, *found)


def _quality(options: BuyOptions, measured: list[_Measured]) -> Table:
    rows: list[Mapping[str, Value]] = []
    for each in measured:
        for pair, quality in ((options.first, each.first), (options.second, each.second)):
            rows.append(
                {
                    "task": each.task,
                    "metric": f"{quality.metric} ({quality.unit})",
                    "formats": pair,
                    "value": quality.value,
                    "interval": f"{quality.low:.4g} to {quality.high:.4g}",
                    "low": quality.low,
                    "high": quality.high,
                    "n": quality.n,
                }
            )
    columns = (
        Column("task", "network"),
        Column("metric", "loss"),
        Column("formats", "formats"),
        Column("value", "value"),
        Column("interval", "95 % interval"),
        Column("n", "samples"),
    )
    return Table("quality, measured now", columns, tuple(rows))


def _verdict(options: BuyOptions, reference: Found, usual: Found, measured: list[_Measured]) -> str:
    area = usual.cost.area_mm2 / reference.cost.area_mm2
    energy = usual.cost.energy_j / reference.cost.energy_j
    text = (
        f"A chip of {options.first} takes {area:.2f} times the area and {energy:.2f} times the energy of one of "
        f"{options.second}."
    )
    names = {1: options.first, 2: options.second, 0: "neither by more than the intervals"}
    if measured:
        text += " Better quality: " + ", ".join(f"{names[m.better]} on {m.task}" for m in measured) + "."
    on = f" for {' and '.join(m.task for m in measured)}; other networks differ" if measured else ", quality left aside"
    if area >= 1 and energy >= 1 and not any(m.better == 1 for m in measured):
        return f"{text} {options.second} is the better buy{on}."
    if area <= 1 and energy <= 1 and not any(m.better == 2 for m in measured):
        return f"{text} {options.first} is the better buy{on}."
    cheaper = options.second if area * energy >= 1 else options.first
    return f"{text} {cheaper} is the cheaper one, and quality decides by network."


def _by_hand(reference: Found, usual: Found) -> list[Estimate]:
    """What the widths of the significands alone say."""
    bits = []
    for found in (reference, usual):
        weight, activation = operands(FormatPair.parse(found.formats))
        bits.append((weight.significand, activation.significand))
    (w2, a2), (w1, a1) = bits
    unit = usual.chip.unit.area_um2.value / reference.chip.unit.area_um2.value
    share = next(p.area_mm2 for p in reference.cost.components if p.name == "mac_array") / reference.cost.area_mm2
    return [
        Estimate(
            "bits of the multipliers, over each other", w1 * a1 / (w2 * a2), unit, "count",
            f"{w1} x {a1} against {w2} x {a2} bits of a significand; what the model has above it is alignment of the "
            "products by their exponents, which integers lack",
        ),
        Estimate(
            "area of the chips, over each other", 1 + share * (unit - 1),
            usual.cost.area_mm2 / reference.cost.area_mm2, "count",
            f"the array is {share:.0%} of the chip, and only it grows (with its control)",
        ),
    ]  # fmt: skip


BUY = Question(
    "fp8-or-int8",
    "whether FP8 or INT8 is the better buy: area, energy and measured quality on chips that are otherwise equal",
    BuyOptions,
    _buy,
)
