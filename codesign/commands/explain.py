"""``codesign explain``: shows what a search space resolves to."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from codesign.commands.output import human, print_json, print_table
from codesign.formats import get_format
from codesign.quality.forecast import forecast
from codesign.search import SearchSpace, load_space
from codesign.search.results.records import batch_norms, layer_table, task_facts
from codesign.search.results.words import UNFOLDED, designs_in_words
from codesign.search.space.network import Network
from codesign.search.space.sums import in_words
from codesign.search.space.ties import first


def run(arguments: argparse.Namespace) -> int:
    space = load_space(arguments.space)
    facts = explained(space)
    if arguments.json:
        print_json(facts)
        return 0
    print(f"{arguments.space}: {_chips(facts)}, {designs_in_words(facts['log10_designs'])} designs")
    goals = [[o["name"], o["unit"], o["direction"], o["meaning"]] for o in facts["objectives"]]
    print_table("objectives", ["name", "unit", "direction", "meaning"], goals)
    if facts["budgets"]:
        print_table("budgets", ["name", "at most"], [[k, f"{v:g}"] for k, v in facts["budgets"].items()])
    choices = [
        [p["pair"], f"{p['weight_bits']:.4g}", f"{p['activation_bits']:.4g}", str(p["units"]), " or ".join(p["sums"])]
        for p in facts["pairs"]
    ]
    _say_tried(facts["screened"])
    columns = ["pair", "weight bits", "activation bits", "units with it", "products are summed in"]
    print_table("pairs (weight:activation)", columns, choices)
    print(f"No accumulator can overflow. {_what_counts(facts)}\n" if facts["hardware"] else f"{_NO_HARDWARE}\n")
    for name, task in facts["tasks"].items():
        print(_measured_by(name, task))
        print(_takes(facts["forecasts"][name]))
        if facts["preparations"][name] is not None:
            title, columns, rows = _prepared(name, facts["preparations"][name])
            print_table(title, columns, rows) if rows else print(f"{title}\n")
        _say_target(name, facts["targets"][name])
    for name, layers in facts["layers"].items():
        rows = [
            [la["name"], la["kind"], human(la["macs"]), human(la["parameters"]), la["tied_to"] or str(la["choices"])]
            for la in layers
        ]
        print_table(f"{name}: {len(rows)} layers", ["layer", "kind", "MACs", "parameters", "choices"], rows)
        if facts["unread"][name]:
            listed = [[weight, human(elements)] for weight, elements in facts["unread"][name].items()]
            print_table(
                f"{name}: weights that no product reads, which stay as they are", ["weight", "elements"], listed
            )
    return 0


def _say_tried(tried: list[dict[str, Any]]) -> None:
    """Print the formats of the grammar whose units were priced, and why each was kept or not."""
    if not tried:
        return
    rows = [
        [
            "kept" if each["kept"] else "",
            each["name"],
            f"{each['bits']:.4g}",
            f"{each['error_db']:.1f} dB",
            f"{each['area_um2']:.1f} um2",
            each["why"],
        ]
        for each in tried
        if each["area_um2"] is not None
    ]
    title = f"formats of the grammar: {len(tried)} tried on layers, those with the smallest errors priced"
    print_table(title, ["", "format", "bits", "error of layers", "area of a product", "why"], rows)


_NO_HARDWARE = "The space has no hardware; formats alone are searched."


def _measured_by(name: str, task: dict[str, Any]) -> str:
    """The deciding metric of a network, in words."""
    unit = f" in {task['unit']}" if task["unit"] else ""
    text = (
        f"{name}.quality is {task['metric']}{unit}, a loss: smaller is better. Activations' ranges: {task['ranges']}."
    )
    return f"{text} {UNFOLDED.format(task['batch_norms'])}" if task["batch_norms"] else text


def _say_target(name: str, found: Mapping[str, Any]) -> None:
    """Print what the target of a network forbids, and what it ties."""
    if found["target"] is not None:
        print(f"{name} is for {found['target']} ({found['about']}).")
        rows = [[each["pair"], str(each["layers"]), each["first"], each["reason"]] for each in found["forbidden"]]
        if rows:
            print_table(f"{name}: what {found['target']} forbids", ["pair", "layers", "first", "why"], rows)
    if found["tied"]:
        print(
            f"{name}: {len(found['tied'])} sets of layers are one matrix there, such as {', '.join(found['tied'][0])}."
        )


def _target(network: Network) -> dict[str, Any]:
    """The target of a network, what it forbids by pair and reason, and what it ties."""
    rules, layers = network.rules, network.layers
    reasons: dict[tuple[str, str], list[str]] = {}
    for layer, pairs in rules.forbidden.items():
        for pair, reason in pairs.items():
            reasons.setdefault((pair, reason), []).append(layer)
    return {
        "target": None if rules.target is None else rules.target.name,
        "about": None if rules.target is None else rules.target.about,
        "forbidden": [
            {"pair": pair, "reason": reason, "layers": len(names), "first": names[0]}
            for (pair, reason), names in reasons.items()
        ],
        "tied": [[layers[place] for place in places] for places in rules.ties],
    }


def _takes(found: Mapping[str, float]) -> str:
    """What an evaluation takes, in words."""
    return (
        f"An evaluation will take about {found['evaluation_s']:.2g} s and {human(found['memory_bytes'], 'B')} here "
        f"(batches: {found['batches']}; a float one took {found['batch_s']:.2g} s)."
    )


def _prepared(name: str, found: Mapping[str, Any]) -> tuple[str, list[str], list[list[str]]]:
    """What was done to a network before it is quantized: a table of what was matched, and of what was not, and why."""
    many = Counter((match["step"], match["what"]) for match in found["matches"])
    rows = [[step, what, str(count), ""] for (step, what), count in many.items()]
    left = Counter((each["step"], each["reason"]) for each in found["unmatched"])
    first = {(each["step"], each["reason"]): each["module"] for each in reversed(found["unmatched"])}
    for (step, reason), count in left.items():
        others = f" and {count - 1} more" if count > 1 else ""
        rows.append([step, f"not: {reason}", str(count), f"{first[step, reason]}{others}"])
    steps, error = ", ".join(found["steps"]), found["error"]
    if not rows:
        return f"{name}: nothing to prepare: it has no layers to which these steps apply: {steps}.", [], []
    moved = f"changed its outputs by at most {error:.1g} of the largest" if error else "left its outputs as they were"
    title = f"{name}: prepared by {steps}, which {moved} (to search it as it is: prepare: none)"
    return title, ["step", "found", "times", "where"], rows


def _what_counts(facts: dict[str, Any]) -> str:
    if facts["fixed"]:
        given = "; ".join(f"{name}: {' or '.join(labels)}" for name, labels in facts["fixed"].items())
        return f"Formats are given: nothing is measured, and every accelerator is priced. {given}."
    limit = f"{facts['accumulator_sqnr_db']:g} dB (accumulator_sqnr_db)"
    return f"A design is reported if the sums of every layer have an SQNR of at least {limit}."


def _chips(facts: Mapping[str, Any]) -> str:
    """The number of accelerators in words."""
    if not facts["hardware"]:
        return "formats alone, without hardware"
    return "1 accelerator" if facts["accelerators"] == 1 else f"{facts['accelerators']:,} accelerators"


def explained(space: SearchSpace) -> dict[str, Any]:
    """What the space resolves to, as JSON types."""
    units = space.spec.chip.units.resolve()
    return {
        "space": space.spec.name,
        "space_hash": space.space_hash,
        "accelerators": len(space.grid),
        "log10_designs": space.size(),
        "objectives": [o.to_dict() | {"meaning": o.metric.meaning} for o in space.objectives],
        "hardware": space.spec.hardware is not None,
        "tasks": {
            name: task_facts(space, name).model_dump() | {"batch_norms": batch_norms(network.task)}
            for name, network in space.networks.items()
        },
        "forecasts": {
            name: forecast(network.task, network.workload).to_dict() for name, network in space.networks.items()
        },
        "preparations": {
            name: None if network.task.preparation is None else asdict(network.task.preparation)
            for name, network in space.networks.items()
        },
        "targets": {name: _target(network) for name, network in space.networks.items()},
        "screened": [asdict(each) for each in space.screened],
        "budgets": {o.name: limit for o, limit in space.budgets},
        "accumulators": space.spec.chip.accumulator,
        "accumulator_sqnr_db": space.spec.accumulator_sqnr_db,
        "units": [[str(p) for p in unit] for unit in units],
        "pairs": [
            {
                "pair": str(p),
                "weight_bits": get_format(p.weight).bits_per_element,
                "activation_bits": get_format(p.activation).bits_per_element,
                "units": sum(p.datapath in unit for unit in units),
                "sums": sorted({in_words(p, unit) for unit in space.grid.units if unit.supports(p)}),
            }
            for p in space.pairs
        ],
        "fixed": {name: list(network.labels) for name, network in space.fixed.items()},
        "unread": {name: dict(workload.unread) for name, workload in space.workloads.items()},
        "layers": {name: _layers(space, name) for name in space.workloads},
    }


def _layers(space: SearchSpace, name: str) -> list[dict[str, Any]]:
    measured = name in space.networks
    allowed = space.networks[name].allowed if measured else space.fixed[name].allowed(space.pairs)
    table = layer_table(space.workloads[name])
    leads = first(space.networks[name].groups)[space.networks[name].groups] if measured else np.arange(len(table))
    tied_to = ["" if lead == i else f"as {table[lead].name}" for i, lead in enumerate(leads)]
    rows = zip(table, allowed, tied_to, strict=True)
    return [row.model_dump() | {"choices": int(pairs.sum()), "tied_to": lead} for row, pairs, lead in rows]
