"""``codesign cost``."""

from __future__ import annotations

import argparse
from typing import Any

from codesign.commands.output import assignment_for, human, print_json, print_table
from codesign.hardware import cost, load_accelerator
from codesign.models import BUNDLED, load_task
from codesign.workload import Workload, named_workload


def workload_called(name: str) -> Workload:
    """A bundled (or python:) task's workload, or a named network."""
    if name in BUNDLED or name.startswith("python:"):
        return load_task(name).workload()
    return named_workload(name)


def run(arguments: argparse.Namespace) -> int:
    workload = workload_called(arguments.workload)
    accelerator = load_accelerator(arguments.accelerator)
    assignment = assignment_for(workload, arguments.formats, arguments.assignment)
    result = cost(workload, accelerator, assignment).to_dict()
    if arguments.json:
        print_json(result)
        return 0
    units = {"area_mm2": "mm2", "latency_s": "s", "energy_j": "J", "dram_bytes": "B", "dram_capacity_bytes": "B"}
    names = {"parameters": "", "macs": ""} | units | {"weight_bytes": "B"}
    print_table(
        f"{arguments.workload} on {accelerator.name}",
        ["", "value"],
        [[k, human(result[k], u)] for k, u in names.items()],
    )
    passes = [[phase, human(s, "s")] for phase, s in result["latency_per_pass_s"].items()]
    print_table("latency of one pass", ["phase", "latency"], passes)
    parts = [[c["name"], human(c["area_mm2"], "mm2"), human(c["energy_j"], "J")] for c in result["components"]]
    print_table("components", ["component", "area", "energy"], parts)
    slowest = sorted(result["layers"], key=lambda layer: -layer["latency_s"])[: arguments.layers]
    rows = [
        [la["name"], la["kind"], la["pair"], human(la["macs"]), human(la["latency_s"], "s"), la["bound"], _mb(la)]
        for la in slowest
    ]
    columns = ["layer", "kind", "formats", "MACs", "latency", "bound by", "DRAM"]
    print_table(f"slowest {len(rows)} of {len(result['layers'])} layers", columns, rows)
    return 0


def _mb(layer: dict[str, Any]) -> str:
    return human(layer["dram_bytes"], "B")
