"""The smallest chip that gives a result in a given time: Stable Diffusion in a second, an LCM in real time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from codesign.answers.answer import Answer, Column, Estimate, Table, Value
from codesign.answers.chips import CHIP, Chips, Found, Mix, described, envelope, pairs_and_nodes, smallest
from codesign.answers.question import ChipOptions, Numbers, Pairs, Positive, Question, Say
from codesign.human import human
from codesign.workload import Workload, named_workload

_FIXED = "all weights, activations and attention products in these formats; softmax, norms and activations in bf16"


class _Chip(ChipOptions):
    """Options of the chips to choose from."""

    formats: Annotated[Pairs, Field(description="formats to compare: weight:activation, or one name for both")] = (
        "int8",
        "fp8_e4m3",
        "int4_g32:int8",
    )
    nodes: Annotated[Numbers, Field(description="process nodes in nm")] = (4,)


class SmallestOptions(_Chip):
    network: Annotated[str, Field(description="a named workload (codesign workloads)")] = "sd15-pipeline:steps=20"
    seconds: Annotated[Positive, Field(description="time of one result")] = 1.0


class RealTimeOptions(_Chip):
    network: Annotated[str, Field(description="a named workload (codesign workloads)")] = "lcm-sd15-pipeline:steps=4"
    rates: Annotated[Numbers, Field(description="results a second, one chip for each")] = (1.0, 2.0, 5.0, 10.0)


def _smallest(options: SmallestOptions, say: Say) -> Answer:
    workload = named_workload(options.network)
    return _answer(
        f"What is the smallest chip that runs {options.network} in {options.seconds:g} s?",
        options,
        workload,
        _search(options, workload, [options.seconds], say),
        [options.seconds],
        f"within {options.seconds:g} s",
    )


def _real_time(options: RealTimeOptions, say: Say) -> Answer:
    limits = [1 / rate for rate in options.rates]
    rates = ", ".join(f"{rate:g}" for rate in options.rates)
    workload = named_workload(options.network)
    return _answer(
        f"What is the smallest chip that runs {options.network} in real time: {rates} results a second?",
        options,
        workload,
        _search(options, workload, limits, say),
        limits,
        "at the rate",
    )


_Row = tuple[str, float, float, Found | None, float]  # pair, node, limit, chip, least latency


def _search(options: _Chip, workload: Workload, limits: list[float], say: Say) -> list[_Row]:
    chips, rows = Chips(options.nodes, options.axes()), list[_Row]()
    for pair, node in pairs_and_nodes(options.formats, options.nodes):
        say(f"{pair} at {node:g} nm")
        mix = Mix.uniform(workload, pair)
        found = smallest(workload, mix, chips.grid(mix.pairs, node), limits)
        rows += [(pair, node, limit, chip, found.least) for limit, chip in zip(limits, found.found, strict=True)]
    return rows


def _answer(
    question: str, options: _Chip, workload: Workload, rows: list[_Row], limits: list[float], within: str
) -> Answer:
    met = [(limit, chip) for _, _, limit, chip, _ in rows if chip is not None]
    table = Table(
        f"smallest chip {within}",
        (Column("rate", "results a second"), Column("latency_s", "latency", "s"), *CHIP),
        tuple(_row(*row) for row in rows),
    )
    estimates: list[Estimate] = []
    for limit, chip in _first_of_each(met):
        estimates += envelope(workload, chip, limit)
    return Answer(
        question=question,
        answer=" ".join(_sentence(limit, rows) for limit in limits),
        tables=(table,),
        estimates=tuple(estimates),
        bounds=tuple(
            f"{chip.formats} at {1 / limit:g} results a second: {_why(workload, chip)}" for limit, chip in met
        ),
        assumptions=(
            _FIXED,
            f"found among {described(options.axes())}; the next smaller size of each axis misses the time",
            "the area is that of the accelerator: array, vector unit, SRAM, control, a share of the DRAM interface",
        ),
    )


def _row(pair: str, node: float, limit: float, chip: Found | None, least: float) -> Mapping[str, Value]:
    if chip is not None:
        return chip.row(rate=f"{1 / limit:g}", limit_s=limit)
    why = "no chip runs it" if least == float("inf") else f"none: at best {human(least, 's')}"
    return {"rate": f"{1 / limit:g}", "limit_s": limit, "formats": pair, "node_nm": node, "bound": why}


def _first_of_each(met: list[tuple[float, Found]]) -> list[tuple[float, Found]]:
    """The first chip of each pair: by hand they differ by the rate alone."""
    seen: dict[str, tuple[float, Found]] = {}
    for limit, chip in met:
        seen.setdefault(chip.formats, (limit, chip))
    return list(seen.values())


def _sentence(limit: float, rows: list[_Row]) -> str:
    chips = [chip for _, _, at, chip, _ in rows if at == limit and chip is not None]
    if not chips:
        return f"{1 / limit:g} results a second: no chip of the grid reaches it."
    sizes = ", ".join(f"{c.formats} {c.cost.area_mm2:.3g} mm2 at {c.chip.node_nm:g} nm" for c in chips)
    best = min(chips, key=lambda c: c.cost.area_mm2)
    return f"{1 / limit:g} results a second: {sizes}; the smallest is {best.formats}."


def _why(workload: Workload, found: Found) -> str:
    ideal = workload.macs() / (found.lanes * found.chip.reached_hz)
    return f"{found.bound}; {ideal / found.cost.latency_s:.0%} of the array's MACs are used"


SMALLEST = Question(
    "smallest-chip",
    "the smallest chip that runs Stable Diffusion 1.5 (512 x 512, 20 steps with guidance) in a second, by format",
    SmallestOptions,
    _smallest,
)
REAL_TIME = Question(
    "real-time",
    "the smallest chip that runs a latent consistency model (4 steps) at 1, 2, 5 and 10 images a second, by format",
    RealTimeOptions,
    _real_time,
)
