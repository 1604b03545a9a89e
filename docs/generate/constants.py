"""Every constant of the cost model, from the data files that the model reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DATA = ROOT / "codesign" / "hardware" / "data"
QUALITIES = {
    "measured": "by a script of this repository",
    "fitted": "to synthesis, with the errors that the validation states",
    "published": "by the maker, a standard or a paper",
    "second": "second hand: derived from published statements",
    "assumption": "nobody publishes it; the interval says how far it may be off",
}


def part() -> str:
    """A table for each data file: name, value, interval, unit, quality, source."""
    return "\n".join(filter(None, (_file(path) for path in sorted(DATA.rglob("*.yaml")))))


def constants(written: object, name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """(dotted name, entry) of all entries with a value and its source."""
    if isinstance(written, dict):
        if "value" in written and "source" in written:
            yield name, written
            return
        for key, inner in written.items():
            yield from constants(inner, f"{name}.{key}" if name else str(key))


def _file(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    found = list(constants(yaml.safe_load(text)))
    if not found:
        return ""
    about = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        about.append(line.lstrip("# "))
    head = f"### {path.relative_to(DATA.parent)}\n\n{_plain(' '.join(about))}\n"
    rows = "\n".join(_row(name, entry) for name, entry in found)
    return f"{head}\n| constant | value | interval | unit | quality | source |\n|---|--:|---|---|---|---|\n{rows}\n"


def _row(name: str, entry: dict[str, Any]) -> str:
    low, high = entry.get("low"), entry.get("high")
    interval = "" if low is None and high is None else f"{_number(low)} to {_number(high)}"
    texts = (_plain(str(entry.get(key, ""))) for key in ("unit", "quality", "source"))
    return f"| `{name}` | {_number(entry['value'])} | {interval} | " + " | ".join(texts) + " |"


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else _plain(str(value))


def _plain(text: str) -> str:
    """Text that Markdown and its tables leave as it is."""
    for mark in "|*_<[":
        text = text.replace(mark, {"<": "&lt;"}.get(mark, f"\\{mark}"))
    return text


def phones() -> str:
    """Published figures of phones beside what the model predicts, from reports/validation/phones.json."""
    written = json.loads((ROOT / "reports" / "validation" / "phones.json").read_text(encoding="utf-8"))
    rows = [
        f"| {each['phone']} | {each['figure']} | {'< ' if each['limit'] else ''}{each['published']:g} {each['unit']} "
        f"| {each['predicted']:.3g} {each['unit']} | {each['predicted'] / each['published']:.2f} |"
        for each in written["rows"]
    ]
    head = "| phone | figure | published | predicted | ratio |\n|---|---|--:|--:|--:|"
    met = sum(each["within"] for each in written["rows"])
    said = f"{met} of {len(rows)} are met: within {written['tolerance']:.0%} of the figure, or below a published limit."
    return "\n".join([said, "", head, *rows])


def unit_errors() -> str:
    """Errors of the fitted models of compute units, from the files that `codesign calibrate` wrote."""
    found = []
    for path in sorted(DATA.glob("mac_model_*.yaml")):
        text = (ROOT / "reports" / "validation" / "mac.md").read_text(encoding="utf-8")
        name = path.stem.removeprefix("mac_model_")
        section = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        rows = [line for line in section.splitlines() if line.startswith(("| area |", "| delay |", "| energy |"))]
        head = "| error of | evaluated on | median | 90th percentile | worst |\n|---|---|--:|--:|--:|"
        found.append("\n".join([f"**{name}**", "", head, *rows, ""]))
    return "\n".join(found)
