"""report.html: one file of template, style, scripts, the charting library and the study's data.

The data is JSON, compressed by gzip and in base64: a network of hundreds of layers in dozens of designs takes tens of
megabytes as plain JSON, which names its layers again and again. Browsers decompress it (DecompressionStream, in all
since 2023).
"""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
from dataclasses import asdict
from pathlib import Path
from string import Template

from codesign.designs import Goal, Metric, Study
from codesign.errors import InputError
from codesign.files import read_text
from codesign.hardware.chip.grid import AcceleratorGrid
from codesign.hardware.chip.memory import dram_bytes_per_s
from codesign.report.cards import cards, equal_size, lead, samples_of
from codesign.report.markdown import reproduce
from codesign.report.text import assumptions, summary
from codesign.report.words import Reading, metric_label, metric_words, reading

_TEMPLATE = Path(__file__).parent / "template"
_SCRIPTS = ("base", "fields", "front", "compare", "layers", "costs", "examples", "start")  # in the order of the page
TRIALS = "trials.csv"
_MOST_TRIALS = 20_000  # measured candidates that the front shows; of more, every nth


def html(files: Study) -> str:
    """The page of a study."""
    # neither the compressed data nor a script holds what closes its element, whatever a study's names are
    parts = {
        "css": read_text(_TEMPLATE / "report.css"),
        "js": "\n".join(read_text(_TEMPLATE / "js" / f"{name}.js") for name in _SCRIPTS),
        "library": library(),
        "data": packed(page_data(files)),
    }
    title = str(files.front.study).replace("&", "&amp;").replace("<", "&lt;")
    return Template(read_text(_TEMPLATE / "report.html")).substitute(parts, title=title)


def library() -> str:
    """The charting library, Apache ECharts."""
    return read_text(_TEMPLATE / "vendor" / "echarts.min.js")


def packed(data: dict[str, object]) -> str:
    """JSON as base64 of gzip, the same for the same data."""
    return base64.b64encode(gzip.compress(json.dumps(data, separators=(",", ":")).encode(), mtime=0)).decode()


def page_data(files: Study) -> dict[str, object]:
    """What the page holds: the study's files as they are, and what people read of them."""
    front = files.front
    return {
        "front": front.model_dump(mode="json", exclude_none=True),
        "details": files.record.model_dump(mode="json", exclude_none=True),
        "examples": files.examples,
        "summary": summary(files),
        "assumptions": assumptions(files),
        "reproduce": reproduce(files),
        "lead": lead(files),
        "cards": [asdict(card) for card in cards(files)],
        "equal_size": equal_size(files),
        "readings": {goal.name: _read(reading(files, goal)) for goal in front.objectives},
        "qualities": {task: _read(reading(files, Goal(name=f"{task}.quality", unit=""))) for task in _measured(files)},
        "words": _words(files),
        "labels": {metric.metric: metric_label(metric.metric) for metric in _metrics(files)},
        "roofs": _roofs(files),
        "trials": _trials(files),
    }


def _read(found: Reading) -> dict[str, str]:
    return {**asdict(found), "better": found.better}


def _measured(files: Study) -> list[str]:
    return [name for name, task in files.record.tasks.items() if task.metric]


def _metrics(files: Study) -> list[Metric]:
    return [metric for design in files.front for metrics in design.metrics.values() for metric in metrics]


def _words(files: Study) -> dict[str, dict[str, list[dict[str, str]]]]:
    """Design -> network -> its metrics as people read them."""
    return {
        design.id: {
            task: [asdict(metric_words(metric, samples_of(files, task))) for metric in metrics]
            for task, metrics in design.metrics.items()
        }
        for design in files.front
    }


def _roofs(files: Study) -> dict[str, dict[str, float]]:
    """Design -> MACs a second of its array, and sustained bytes a second of its DRAM."""
    found: dict[str, dict[str, float]] = {}
    for design in (*files.front, *files.record.baselines) if files.hardware else ():
        try:
            chip = design.accelerator.built()
            rate = float(dram_bytes_per_s(AcceleratorGrid.of([chip]))[0])
        except InputError:  # its memory or unit model is a file that is not here
            continue
        found[design.id] = {"peak": chip.rows * chip.columns * chip.dot * chip.reached_hz, "bytes": rate}
    return found


def _trials(files: Study) -> dict[str, object] | None:
    """The objectives of every measured candidate, from trials.csv; None without one."""
    path = files.folder / TRIALS
    if not path.exists():
        return None
    names = files.front.names
    rows = list(csv.DictReader(io.StringIO(read_text(path))))
    complete = [row for row in rows if all(row.get(name) for name in names)]
    step = len(complete) // _MOST_TRIALS + 1
    values = [[float(f"{float(row[name]):.6g}") for name in names] for row in complete[::step]]
    return {"columns": names, "values": values} if values else None
