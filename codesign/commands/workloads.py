"""``codesign workloads``: lists named workloads."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TypedDict

from codesign.commands.output import human, print_json, print_table
from codesign.workload.catalogue import Request, catalogue, request
from codesign.workload.options import as_written


def run(arguments: argparse.Namespace) -> int:
    asked = [request(name, {}) for name in arguments.names or catalogue()]
    rows = [row(found) for found in asked]
    if arguments.json:
        print_json({"workloads": rows})
        return 0
    shown = [
        [
            r["name"],
            human(r["parameters"]),
            ", ".join(f"{phase} {human(count * 1e9)}" for phase, count in r["gmacs"].items()),
            " ".join(f"{key}={value}" for key, value in r["options"].items()),
        ]
        for r in rows
    ]
    print_table("networks by name", ["network", "parameters", "MACs of one pass", "options"], shown)
    if arguments.names:
        meanings = {key: field.description for r in asked for key, field in type(r.entry.options).model_fields.items()}
        print_table("options", ["option", "meaning"], [[key, str(text)] for key, text in meanings.items()])
        print_table("sources", ["network", "configuration"], [[r["name"], r["source"]] for r in rows])
    return 0


class NetworkRow(TypedDict):
    """A named network in JSON."""

    name: str
    kind: str
    parameters: int
    gmacs: Mapping[str, float]  # by phase
    options: dict[str, str]
    source: str


def row(found: Request) -> NetworkRow:
    """One named network: counts from the catalogue, or traced if its options differ from the catalogue's."""
    entry = found.entry
    gmacs = entry.gmacs
    if found.spelling != found.name:
        from codesign.workload import named_workload  # the list itself needs no network

        workload = named_workload(found.spelling)
        gmacs = {phase: workload.macs(phase) / 1e9 for phase in workload.phases}
    options = {key: as_written(value) for key, value in dict(entry.options).items() if value is not None}
    return {
        "name": found.spelling,
        "kind": entry.kind,
        "parameters": entry.parameters,
        "gmacs": gmacs,
        "options": options,
        "source": entry.source,
    }
