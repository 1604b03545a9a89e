"""``codesign cost``: area, latency, energy and memory traffic of a network on an accelerator."""

from __future__ import annotations

import argparse
from dataclasses import replace
from math import isfinite, isinf
from typing import Any

from codesign.commands.output import assignment_for, human, print_json, print_table, print_text
from codesign.commands.progress import WAIT_S, StageProgress
from codesign.errors import InputError
from codesign.files import check_target, csv_text, write_target
from codesign.formats import Assignment
from codesign.hardware import Accelerator, AcceleratorGrid, AssignmentTotals, Cost, cost, load_accelerator
from codesign.hardware.chip import memory
from codesign.hardware.chip.varied import Varied
from codesign.hardware.schedule.chunks import priced
from codesign.hardware.schedule.roofline import RooflinePoint, bound_shares, roofline
from codesign.hardware.schedule.what_if import Variant, what_if
from codesign.hardware.units.coefficients import Interval, table
from codesign.models import is_task, load_task, workload_called
from codesign.search.results.records import batch_norms
from codesign.workload import Workload
from codesign.workload.role_files import load_rules
from codesign.workload.roles import LABEL

_UNITS = {"parameters": "", "macs": "", "area_mm2": "mm2", "latency_s": "s", "energy_j": "J"} | dict.fromkeys(
    ("dram_bytes", "dram_capacity_bytes", "weight_bytes"), "B"
)
# of a combination of --set, with their units
_FIGURES = {
    "latency_s": "s",
    "latency_per_token_s": "s",
    "energy_j": "J",
    "dram_bytes": "B",
    "dram_capacity_bytes": "B",
}
_AREAS = ("area_mm2", "area_low_mm2", "area_high_mm2")
_COMPARED = {
    "area_mm2": "area",
    "latency_s": "latency",
    "energy_j": "energy",
    "dram_bytes": "DRAM traffic",
    "dram_capacity_bytes": "DRAM content",
}


def run(arguments: argparse.Namespace) -> int:
    check_target(arguments.csv, "--csv")
    if arguments.set and arguments.layers:
        raise InputError("--layers goes without --set, which makes one row of each combination")
    with StageProgress(WAIT_S, silent=arguments.json or arguments.quiet) as progress:
        progress("cost", 0, 3, "tracing the network")
        task = load_task(arguments.workload) if is_task(arguments.workload) else None
        workload = task.workload() if task is not None else workload_called(arguments.workload)
        accelerator = load_accelerator(arguments.accelerator)
        assignment = assignment_for(workload, arguments)
        if arguments.set:
            varied = Varied.of(accelerator, arguments.set)
            progress("cost", 1, 2, f"pricing {len(varied.grid)} accelerators")
            rows, problem = _rows(workload, varied, assignment)
            return _show_rows(arguments, accelerator, rows, problem)
        progress("cost", 1, 3, "pricing the accelerator")
        result = cost(workload, accelerator, assignment)
        points = roofline(workload, accelerator, assignment)
        progress("cost", 2, 3, "pricing what a change would buy")
        variants = what_if(workload, accelerator, assignment)
    transferred = {"label": LABEL, "origin": dict(load_rules(arguments.rules).origin)} if arguments.rules else {}
    if arguments.csv:
        write_target(arguments.csv, csv_text([point.to_dict() for point in points]), "--csv")
    norms = batch_norms(task) if task is not None else 0
    if arguments.json:
        more: dict[str, object] = {
            "roofline": [p.to_dict() for p in points],
            "what_if": [v.to_dict() for v in variants],
        }
        more["graph_start_s"] = _start().to_dict()
        print_json(result.to_dict() | more | transferred | ({"batch_norms": norms} if norms else {}))
        return 0
    if norms:
        print(f"{norms} batch normalisations are priced on the vector unit; a chip folds them into the convolutions")
    if transferred:
        print(f"formats {LABEL} by {arguments.rules}: their quality on {arguments.workload} was not measured")
    print_table(
        f"{arguments.workload} on {accelerator.name}",
        ["", "value"],
        [[k, human(getattr(result, k), u)] for k, u in _UNITS.items()],
    )
    passes = [[phase, human(s, "s")] for phase, s in result.latency_per_pass_s.items()]
    print_table("latency of one pass", ["phase", "latency"], passes)
    start = [f"{seconds * 1e3:g}" for seconds in (_start().value, _start().low, _start().high)]
    print(f"software of a phone adds {start[0]} ms ({start[1]} to {start[2]}) a pass to start the graph\n")
    if accelerator.reached_hz < accelerator.clock_hz:
        print(f"the array runs at {accelerator.clock_text}\n")
    print_table("memories", ["", ""], _memories(accelerator, result))
    components = [
        [
            c.name,
            human(c.area_mm2, "mm2"),
            f"{c.area_mm2 / result.area_mm2:.1%}",
            human(c.energy_j, "J"),
            f"{c.energy_j / result.energy_j:.1%}",
        ]
        for c in result.components
    ]
    print_table("components", ["component", "area", "share", "energy", "share"], components)
    shares = [[bound, f"{share:.1%}"] for bound, share in bound_shares(points).items()]
    print_table("what bounds the latency", ["bound", "share"], shares)
    _print_roofline(points, arguments.layers or 10)
    _print_what_if(result, variants)
    return 0


def _rows(workload: Workload, varied: Varied, assignment: Assignment) -> tuple[list[dict[str, Any]], str]:
    """Values and cost of every combination, None where it cannot run the network; and why the first such one cannot."""
    rows: list[dict[str, Any]] = []
    problem = ""
    for chunk in priced(varied.grid, {"": AssignmentTotals(workload, [assignment])}):
        area, costs = chunk.areas, chunk.costs[""]
        for i in range(len(chunk.chips)):
            runs = bool(isfinite(costs["latency_s"][i, 0]))
            ends = (("area_mm2", area.value), ("area_low_mm2", area.low), ("area_high_mm2", area.high))
            found: dict[str, Any] = {name: float(values[i].sum()) for name, values in ends}
            found |= {name: float(costs[name][i, 0]) if runs else None for name in _FIGURES if name in costs}
            rows.append({**varied.values[chunk.start + i], **found})
            if not runs and not problem:
                problem = _problem(workload, replace(varied.grid[chunk.start + i], name="it"), assignment)
    return rows, problem


def _problem(workload: Workload, accelerator: Accelerator, assignment: Assignment) -> str:
    try:
        cost(workload, accelerator, assignment)
    except InputError as error:
        return str(error)
    return f"{accelerator.name} cannot run {workload.name}"


def _show_rows(
    arguments: argparse.Namespace, accelerator: Accelerator, rows: list[dict[str, Any]], problem: str
) -> int:
    """Print the combinations, and write them as CSV if asked."""
    if arguments.csv:
        write_target(arguments.csv, csv_text(rows), "--csv")
    if arguments.json:
        named = {"workload": arguments.workload, "accelerator": accelerator.name, "set": list(arguments.set)}
        print_json(named | {"rows": rows} | ({"problem": problem} if problem else {}))
        return 0
    axes = [key for key in rows[0] if key not in (*_AREAS, *_FIGURES)]
    table = [
        [
            *(f"{row[key]:g}" if isinstance(row[key], float) else str(row[key]) for key in axes),
            human(row["area_mm2"], "mm2"),
            f"{row['area_low_mm2']:.3g} to {row['area_high_mm2']:.3g}",
            *("-" if row[key] is None else human(row[key], _FIGURES[key]) for key in _FIGURES if key in row),
        ]
        for row in rows
    ]
    figures = [_COMPARED.get(key, "latency per token") for key in _FIGURES if key in rows[0]]
    title = f"{arguments.workload} on {accelerator.name}, varied"
    print_table(title, [*axes, "area", "interval, mm2", *figures], table)
    if problem:
        refused = sum(row["latency_s"] is None for row in rows)
        print(f"{refused} of {len(rows)} combinations cannot run it. The first: {problem}")
    return 0


def _start() -> Interval:
    """Seconds that starting a graph takes, which are in no latency."""
    return table("system.yaml", "start")["graph_s"].interval


def _memories(accelerator: Accelerator, result: Cost) -> list[list[str]]:
    """The memories of the accelerator, and how much of the DRAM the network uses."""
    grid = AcceleratorGrid.of([accelerator])
    rows = [
        ["SRAM", f"{accelerator.sram_bytes / 1024:g} KiB in {memory.sram_banks(grid)[0]:g} banks"],
        ["DRAM", f"{accelerator.dram_channels} x {accelerator.dram}, {memory.dram_price_class(grid)[0]}"],
        ["sustained", human(float(memory.dram_bytes_per_s(grid)[0]), "B") + "/s"],
        ["of DRAM used", f"{result.dram_capacity_bytes / 2**30:.3g} of {accelerator.dram_gib:.3g} GiB"],
    ]
    if accelerator.flash:
        rows.append(["flash", f"{accelerator.flash}, {human(float(memory.flash_bytes_per_s(grid)[0]), 'B')}/s"])
    if accelerator.codec:
        rows.append(["weights", f"compressed: {accelerator.codec}"])
    return rows


def _print_roofline(points: list[RooflinePoint], most: int) -> None:
    """Print the slowest operators, with their throughput relative to the roofline."""
    rows = [
        [
            p.layer,
            p.phase,
            p.pair,
            "-" if isinf(p.macs_per_byte) else f"{p.macs_per_byte:.3g}",
            human(p.macs_per_s),
            f"{p.macs_per_s / p.roof_macs_per_s:.1%}",
            p.bound,
            f"{p.share:.1%}",
        ]
        for p in points[:most]
    ]
    columns = ["layer", "phase", "formats", "MACs/B", "MACs/s", "of roof", "bound by", "time"]
    print_table(f"roofline: slowest {len(rows)} of {len(points)} operators", columns, rows)


def _print_what_if(result: Cost, variants: list[Variant]) -> None:
    """Print the cost of each variant relative to the unchanged design."""
    rows, problems = [], []
    for variant in variants:
        name = variant.name + (" *" if variant.requantized else "")
        if variant.problem:
            problems.append(f"{variant.name}: {variant.problem}")
            rows.append([name, *["-"] * len(_COMPARED)])
        else:
            rows.append([name, *(f"{getattr(variant, key) / getattr(result, key):.2f}x" for key in _COMPARED)])
    print_table("what if", ["change", *_COMPARED.values()], rows)
    print("* every layer in these formats; the quality changes, and is not measured here")
    for problem in problems:
        print_text(problem, "- ")
