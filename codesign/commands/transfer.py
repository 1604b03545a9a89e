"""``codesign transfer``: a design's formats by role of the layer, applied to other networks."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TypedDict

from codesign.commands.output import human, print_json, print_table
from codesign.errors import InputError, nearest
from codesign.export.study import ChosenDesign, read_design
from codesign.files import check_target
from codesign.formats import FormatPair
from codesign.hardware import cost
from codesign.models import workload_called
from codesign.workload.role_files import write_rules
from codesign.workload.roles import LABEL, RoleRules, roles

_FIGURES = {"latency_s": "s", "energy_j": "J", "dram_bytes": "B", "dram_capacity_bytes": "B", "weight_bytes": "B"}


def run(arguments: argparse.Namespace) -> int:
    check_target(arguments.out, "--out")
    design = read_design(arguments.study, arguments.design)
    task = design.task_named(arguments.task)
    rules = design.rules(task, design.load(task).workload())
    if arguments.default:
        rules = replace(rules, default=_default(design, arguments.default))
    if arguments.out:
        write_rules(arguments.out, rules)
    applied = _applied(design, rules, arguments.to) if arguments.to else None
    if arguments.json:
        print_json({**_record(rules), **(applied or {})})
        return 0
    where = f"{design.id} of {design.study}, {rules.origin['task']}"
    rows = [[role, str(pair), f"{rules.agreement[role]:.0%}"] for role, pair in rules.rules.items()]
    print_table(f"formats by role in {where}", ["role", "formats", "of its MACs"], rows)
    if applied:
        formats = applied["formats"] | dict.fromkeys(applied["defaulted"], f"{rules.default} (default)")
        counts = [[role, str(count), formats[role]] for role, count in applied["layers"].items()]
        print_table(f"{arguments.to} by these rules", ["role", "layers", "formats"], counts)
        figures = [[key, human(applied["cost"][key], unit)] for key, unit in _FIGURES.items()]
        print_table(f"{arguments.to} on the chip of {design.id}", ["", "value"], figures)
        print(f"{LABEL} from {where}: its quality on {arguments.to} was not measured")
    return 0


def _default(design: ChosenDesign, text: str) -> FormatPair:
    """The default pair; raises InputError unless the design's chip supports it."""
    pair, known = FormatPair.parse(text).checked(), design.design.accelerator.pairs
    if str(pair.datapath) not in known:
        computes = f"{', '.join(known)}{nearest(str(pair), known)}"
        raise InputError(f"--default {text}: the chip of {design.id} computes {computes}")
    return pair


class _Applied(TypedDict):
    """Another network in the formats that the rules give, in JSON."""

    network: str
    layers: dict[str, int]  # by role
    formats: dict[str, str]  # by role
    defaulted: list[str]  # roles that take the default
    cost: dict[str, float]


def _applied(design: ChosenDesign, rules: RoleRules, network: str) -> _Applied:
    """The cost of another network, in the formats that the rules give, on the design's accelerator."""
    if not design.hardware:
        raise InputError(f"{design.folder}: its space has no chip to cost '{network}' on; take codesign cost --rules")
    workload = workload_called(network)
    result = cost(workload, design.design.accelerator.built(), rules.apply(workload))
    by_layer = roles(workload)
    counts = {role: list(by_layer.values()).count(role) for role in dict.fromkeys(by_layer.values())}
    formats = {role: str(rules.rules.get(role, rules.default)) for role in counts}
    defaulted = [role for role in counts if role not in rules.rules]
    figures = {key: getattr(result, key) for key in _FIGURES}
    return {"network": network, "layers": counts, "formats": formats, "defaulted": defaulted, "cost": figures}


def _record(rules: RoleRules) -> dict[str, object]:
    return {
        "label": LABEL,
        "origin": dict(rules.origin),
        "rules": {role: str(pair) for role, pair in rules.rules.items()},
        **({"default": str(rules.default)} if rules.default else {}),
        "agreement": dict(rules.agreement),
    }
