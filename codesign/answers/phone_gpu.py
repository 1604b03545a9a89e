"""What a GPU with tensor cores costs in a phone, and server arithmetic beside it, against an NPU of equal speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Field

from codesign.answers.answer import Answer, Column, Estimate, Table, Value
from codesign.answers.chips import CHIP, Chips, Found, Mix, described, energy_by_hand, phases, smallest
from codesign.answers.question import Names, Node, Options, Pair, Pairs, Question, Say
from codesign.errors import InputError
from codesign.formats import FormatPair
from codesign.hardware import AcceleratorGrid, load_accelerator
from codesign.hardware.arithmetic.operands import operands
from codesign.hardware.chip.memory import dram_bytes_per_s
from codesign.human import human
from codesign.workload import Workload, named_workload

_SERVER, _PROCESSORS = "server-fp16-class", 8  # whose multiprocessors a published die has 128 of
_DIE_MM2, _ON_DIE = 826, 128  # of GA100 (NVIDIA's white paper of the A100, as quoted by ggangliu.cn)


class GpuOptions(Options):
    gpus: Annotated[Names, Field(description="chips of server arithmetic: presets or files")] = (
        "phone-gpu-tensor",
        "server-fp16-class",
        "server-fp32-class",
    )
    formats: Annotated[Pairs, Field(description="formats of the networks on those of the chips that have them")] = (
        "fp16",
        "int8",
        "fp32",
    )
    npu: Annotated[Pair, Field(description="formats of the NPU")] = "int8"
    networks: Annotated[Names, Field(description="networks (codesign workloads)")] = (
        "sd15-pipeline:steps=20",
        "lcm-sd15-pipeline:steps=4",
        "llama3.2-1b",
    )
    node: Annotated[Node, Field(description="process node of all chips in nm")] = 4.0


@dataclass(frozen=True)
class _Race:
    """A network on a GPU, and on the smallest NPU that is as fast."""

    network: str
    workload: Workload
    gpu: Found
    npu: Found | None
    least_s: float  # of any NPU of the grid


def _gpu(options: GpuOptions, say: Say) -> Answer:
    races = [race for network in options.networks for race in _races(options, network, say)]
    return Answer(
        question=f"What does a GPU with tensor cores cost in a phone at {options.node:g} nm, against an NPU of equal "
        "speed?",
        answer=" ".join(_sentence(race) for race in races if race.network == options.networks[0]),
        tables=(_table(races), _units(options, races)),
        estimates=tuple(_by_hand(options, races)),
        bounds=tuple(
            f"{race.network} on {race.gpu.chip.name} in {race.gpu.formats}: {race.gpu.bound}" for race in races
        ),
        assumptions=(
            f"all chips at {options.node:g} nm with the clock and the arithmetic of their files; the NPU has the DRAM "
            "of its GPU and 1 GHz",
            "a GPU is priced as an array, a vector unit, SRAM and control; its schedulers, register files, texture and "
            "raster units come on top: see the last estimate by hand",
            "INT8 runs at the rate of FP16 in the model's shared unit; NVIDIA's tensor cores run it at twice that rate",
            f"the NPU is the smallest of {described({})}; all its layers are in {options.npu}",
            "quality is not weighed here",
        ),
    )


def _races(options: GpuOptions, network: str, say: Say) -> list[_Race]:
    """The network on every GPU in every format that it has, each beside the smallest NPU that is as fast."""
    workload, gpus = named_workload(network), []
    for name in options.gpus:
        chip = replace(load_accelerator(name), node_nm=options.node)
        known = [pair for pair in options.formats if chip.unit.supports(FormatPair.parse(pair))]
        if not known:
            offered = ", ".join(map(str, chip.pairs))
            raise InputError(f"gpus: {name} has none of formats={','.join(options.formats)}; it has {offered}")
        for pair in known:
            say(f"{network} on {name} in {pair}")
            gpus.append(Found.of(workload, chip, Mix.uniform(workload, pair)))
    say(f"{network} on NPUs")
    mix, races = Mix.uniform(workload, options.npu), []
    for dram, channels in dict.fromkeys((gpu.chip.dram, gpu.chip.dram_channels) for gpu in gpus):
        axes: dict[str, list[Any]] = {"dram": [dram], "dram_channels": [channels]}
        alike = [gpu for gpu in gpus if (gpu.chip.dram, gpu.chip.dram_channels) == (dram, channels)]
        limits = [gpu.cost.latency_s for gpu in alike]
        best = smallest(workload, mix, Chips((options.node,), axes).grid(mix.pairs, options.node), limits)
        races += [_Race(network, workload, gpu, npu, best.least) for gpu, npu in zip(alike, best.found, strict=True)]
    return races


def _sentence(race: _Race) -> str:
    gpu, name = race.gpu, f"{race.gpu.chip.name} in {race.gpu.formats}"
    if race.npu is None:
        return f"{name} takes {human(gpu.cost.latency_s, 's')} for {race.network}, which no NPU of the grid reaches."
    npu = race.npu.cost
    return (
        f"{name} takes {human(gpu.cost.latency_s, 's')} for {race.network}, {gpu.cost.area_mm2:.3g} mm2 and "
        f"{human(gpu.cost.energy_j, 'J')}: {gpu.cost.area_mm2 / npu.area_mm2:.1f} times the area and "
        f"{gpu.cost.energy_j / npu.energy_j:.1f} times the energy of an NPU in {race.npu.formats} that is as fast."
    )


def _table(races: Sequence[_Race]) -> Table:
    rows: list[Mapping[str, Value]] = []
    for race in races:
        base = race.npu.cost if race.npu else None
        for kind, found in (("GPU", race.gpu), ("NPU", race.npu)):
            more: dict[str, Value] = {"network": race.network, "chip": race.gpu.chip.name if kind == "GPU" else kind}
            if found is None:
                rows.append(more | {"bound": f"none: at best {human(race.least_s, 's')}"})
                continue
            if base is not None:
                more |= {
                    "area_x": found.cost.area_mm2 / base.area_mm2,
                    "energy_x": found.cost.energy_j / base.energy_j,
                }
            rows.append(found.row(**more))
    columns = (
        Column("network", "network"),
        Column("chip", "chip"),
        Column("latency_s", "time", "s"),
        Column("area_x", "area, x"),
        Column("energy_x", "energy, x"),
        *CHIP,
    )
    return Table("each GPU, and below it the smallest NPU that is as fast (x: over the NPU)", columns, tuple(rows))


def _units(options: GpuOptions, races: Sequence[_Race]) -> Table:
    """Units of every chip, and what one lane of them takes."""
    rows: list[Mapping[str, Value]] = []
    base = next((race.npu for race in races if race.npu is not None), None)
    firsts = {(race.gpu.chip.name, race.gpu.formats): race.gpu for race in races}
    for name, found in [*((key[0], gpu) for key, gpu in firsts.items()), *([("NPU", base)] if base else [])]:
        unit, lane = found.chip.unit, _lane_um2(found)
        energy = unit.energy_pj(found.mix.main).value
        rows.append(
            {
                "chip": name,
                "formats": found.formats,
                "unit": ", ".join(map(str, unit.pairs)),
                "accumulator": unit.accumulator,
                "lane_um2": lane,
                "area_x": lane / _lane_um2(base) if base else None,
                "energy_pj": energy,
                "energy_x": energy / base.chip.unit.energy_pj(base.mix.main).value if base else None,
            }
        )
    columns = (
        Column("chip", "chip"),
        Column("formats", "formats"),
        Column("unit", "formats of the unit"),
        Column("accumulator", "accumulator"),
        Column("lane_um2", "area of a lane, um2"),
        Column("area_x", "x"),
        Column("energy_pj", "energy of a MAC, pJ"),
        Column("energy_x", "x"),
    )
    return Table(f"units at {options.node:g} nm (x: over the NPU's)", columns, tuple(rows))


def _lane_um2(found: Found) -> float:
    """Cell area of a multiplication a cycle."""
    return found.chip.unit.area_um2.value / (found.chip.dot * found.chip.unit.rate(found.mix.main))


def _by_hand(options: GpuOptions, races: Sequence[_Race]) -> list[Estimate]:
    first = [race for race in races if race.network == options.networks[0]]
    estimates = [_time(race) for race in first]
    estimates += [_significands(race) for race in first if race.npu is not None]
    estimates += [energy_by_hand(first[0].workload, first[0].gpu)]
    estimates += [energy_by_hand(race.workload, race.npu) for race in first[:1] if race.npu is not None]
    if _SERVER in options.gpus:
        estimates.append(_die(next(race for race in first if race.gpu.chip.name == _SERVER)))
    return estimates


def _time(race: _Race) -> Estimate:
    gpu, macs = race.gpu, race.workload.macs()
    bandwidth = float(dram_bytes_per_s(AcceleratorGrid.of([gpu.chip]))[0])
    busy, moved = macs / (gpu.lanes * gpu.chip.reached_hz), gpu.cost.dram_bytes / bandwidth
    return Estimate(
        f"time: {gpu.chip.name}, {gpu.formats}", max(busy, moved), gpu.cost.latency_s, "s",
        f"the longer of {phases(race.workload)} MACs on {gpu.lanes} lanes at {gpu.chip.reached_hz / 1e9:g} GHz, "
        f"{human(busy, 's')}, and {gpu.cost.dram_bytes / 1e9:.3g} GB over {bandwidth / 1e9:.3g} GB/s, "
        f"{human(moved, 's')}",
    )  # fmt: skip


def _significands(race: _Race) -> Estimate:
    """What the widths of the multipliers alone say of a lane."""
    assert race.npu is not None
    bits = []
    for found in (race.gpu, race.npu):
        widest = (operands(pair) for pair in found.chip.unit.pairs)
        bits.append(max(weight.significand * activation.significand for weight, activation in widest))
    lanes = _lane_um2(race.gpu) / _lane_um2(race.npu)
    return Estimate(
        f"a lane of {race.gpu.chip.name} in {race.gpu.formats}, over the NPU's", bits[0] / bits[1], lanes, "count",
        f"{bits[0]} against {bits[1]} one-bit products of the widest multiplier; beyond them floats align their "
        "products, and sum in floats",
    )  # fmt: skip


def _die(race: _Race) -> Estimate:
    """A multiprocessor of a published die against an eighth of the preset of eight of them."""
    chip = replace(race.gpu.chip, node_nm=load_accelerator(_SERVER).node_nm)
    found = Found.of(race.workload, chip, race.gpu.mix)
    digital = sum(part.area_mm2 for part in found.cost.components if part.name != "dram_interface")
    return Estimate(
        f"a multiprocessor of the A100 at {chip.node_nm:g} nm", _DIE_MM2 / _ON_DIE, digital / _PROCESSORS, "mm2",
        f"{_DIE_MM2} mm2 of die over {_ON_DIE} multiprocessors, with all else on the die: an upper bound; the model's "
        "has no registers of threads, no FP64, TF32 and integers, no schedulers, texture units and links",
    )  # fmt: skip


GPU = Question(
    "phone-gpu",
    "what a GPU with tensor cores, or FP16 and FP32 arithmetic of a server, costs in a phone against an equal NPU",
    GpuOptions,
    _gpu,
)
