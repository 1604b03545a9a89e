"""The keys of space files, from their schema."""

from __future__ import annotations

from typing import Any

from codesign.search.space.cost_metrics import all_metrics
from codesign.search.space.schema import schema

SECTIONS = {  # definition -> where it stands in a file
    "": "The file",
    "TaskSpec": "A task, below `tasks:`",
    "Phases": "`phases:` of a task",
    "HardwareSpec": "`hardware:`",
    "UnitSpec": "`units:` of the hardware",
    "SearchSpec": "`search:`",
}


def part() -> str:
    """A table of keys for each mapping of a file, and the names that objectives and budgets may take."""
    whole = schema()
    return "\n".join([*(_section(name, title, whole) for name, title in SECTIONS.items()), _metrics()])


def _section(name: str, title: str, whole: dict[str, Any]) -> str:
    part = whole["$defs"][name] if name else whole
    required = part.get("required", [])
    rows = [_row(key, entry, key in required) for key, entry in part["properties"].items()]
    return "\n".join([f"### {title}", "", "| key | type | default | meaning |", "|---|---|---|---|", *rows, ""])


def _row(key: str, entry: dict[str, Any], required: bool) -> str:
    default = "required" if required else _default(entry.get("default"))
    return f"| `{key}` | {_kind(entry)} | {default} | {entry.get('description', '').replace('*', chr(92) + '*')} |"


def _default(value: object) -> str:
    return "" if value in (None, "", [], {}) or isinstance(value, dict) else f"`{value}`".replace("'", "")


def _kind(entry: dict[str, Any]) -> str:
    if "anyOf" in entry:
        kinds = [_kind(each) for each in entry["anyOf"] if each.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in entry:
        words = entry["enum"]
        return "name" if len(words) > 6 else " or ".join(f"`{word}`" for word in words)
    kind = entry.get("type", "mapping")
    if isinstance(kind, list):
        return " or ".join(map(_word, kind))
    return f"list of {_kind(entry['items'])}" if kind == "array" and "items" in entry else _word(kind)


def _word(kind: str) -> str:
    return {"string": "text", "object": "mapping", "integer": "whole number", "boolean": "yes or no"}.get(kind, kind)


def _metrics() -> str:
    """What may be an objective or a budget: of a network (`TASK.latency_s`), or of the design as a whole."""
    rows = []
    for each in all_metrics():
        network, design = ("yes" if flag else "" for flag in (each.per_task, each.total))
        rows.append(f"| `{each.name}` | {each.unit} | {each.meaning} | {network} | {design} |")
    head = "| name | unit | meaning | of a network | of the whole design |\n|---|---|---|---|---|"
    return "\n".join(["### Names of objectives and budgets", "", head, *rows, ""])
