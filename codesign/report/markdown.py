"""report.md: the study as text and tables."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from codesign.designs import Design, Metric, Study
from codesign.files import read_text
from codesign.human import human
from codesign.report.text import accumulation, assumptions, chip, summary
from codesign.report.words import Reading, formats_words, reading
from codesign.terms import DEFAULT_RULE


def markdown(files: Study) -> str:
    """The whole report."""
    front, verb = files.front, "measures" if files.measured else "prices"
    parts = [
        f"# {front.study}: formats and hardware",
        f"Study of {front.created}, seed {front.seed}, space {front.space_hash}, code {front.code_version}.",
        "\n".join(f"- {line}" for line in summary(files)),
        "## Front",
        _front(files),
        "## The balanced design",
        _design(files, files.chosen),
        _baselines(files),
        _examples(files),
        "## Assumptions",
        "\n".join(f"- {line}" for line in assumptions(files)),
        "## To reproduce",
        f"`{reproduce(files)}` {verb} it again; `codesign report {files.folder}` only draws it again.",
    ]
    return "\n\n".join(p for p in parts if p) + "\n"


def reproduce(files: Study) -> str:
    """The command that searches the study again."""
    return f"codesign search {files.folder}/space.yaml --out {files.folder} --seed {files.front.seed}{_ranges(files)}"


def _ranges(files: Study) -> str:
    """The --ranges option that reproduces the study, if the space file may have another rule."""
    rules = {task.ranges for task in files.front.tasks.values()}
    space = files.folder / "space.yaml"
    written = space.exists() and "ranges" in read_text(space)
    return f" --ranges {rules.pop()}" if len(rules) == 1 and (written or rules != {DEFAULT_RULE}) else ""


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; bars in cells are escaped, and line breaks become spaces."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        "| " + " | ".join(" ".join(str(c).replace("|", "\\|").split()) for c in line) + " |" for line in lines
    )


def _front(files: Study) -> str:
    read = _readings(files)
    rows = [
        [
            f"`{d.id}`",
            *(each.text(d.objectives[name]) for name, each in read.items()),
            formats_words(d),
            ", ".join(d.accelerator.pairs),
            f"{d.accelerator.rows} x {d.accelerator.columns}",
            f"{d.accelerator.sram_bytes // 1024}",
            "" if d.told_apart else "as good as a cheaper one",
        ]
        for d in sorted(files.front, key=lambda d: next(iter(d.objectives.values())))
    ]
    chip_columns = ["pairs of its unit", "array", "SRAM KiB"]
    columns = ["design", *map(_heading, read.values()), "formats of most layers", *chip_columns, "within noise"]
    marked = any(row[-1] for row in rows)
    of_chip = range(2 + len(read), len(columns) - 1)
    kept = [i for i in range(len(columns)) if (files.hardware or i not in of_chip) and (marked or i < len(columns) - 1)]
    return table([columns[i] for i in kept], [[row[i] for i in kept] for row in rows])


def _design(files: Study, design: Design) -> str:
    parts = _chip(design) if files.hardware else [f"`{design.id}`: formats alone."]
    if sums := "; ".join(f"{task}: {accumulation(worst)}" for task, worst in design.accumulator.items()):
        parts.append(f"Accumulator, the worst layer's sums over their error: {sums}.")
    for task in design.assignments:
        rows = [
            [m.metric, f"{m.value:.5g}", f"{m.low:.5g} to {m.high:.5g}", m.unit, str(m.n), _delta(m)]
            for m in design.metrics.get(task, ())
        ]
        parts.append(f"### {task}")
        if rows:
            parts.append(table(["metric", "value", "95 %", "unit", "n", "against float, paired"], rows))
        parts.append("Layers: " + ", ".join(f"{n} x {pair}" for pair, n in design.pairs(task).most_common()) + ".")
        parts.append(table(["layers, in order", "formats"], _runs(files, design, task)))
    return "\n\n".join(parts)


def _chip(design: Design) -> list[str]:
    """The accelerator, and the area and energy of its components."""
    cost = design.cost
    area = [[c.name, f"{c.area_mm2:.4g}", human(c.energy_j, "J")] for c in cost.components]
    interval = f"{cost.area_low_mm2:.3g} to {cost.area_high_mm2:.3g}"
    return [
        f"`{design.id}`: {chip(design.accelerator)}.",
        table(["component", f"area mm2 (total {cost.area_mm2:.4g}, {interval})", "energy"], area),
    ]


def _delta(metric: Metric) -> str:
    if metric.delta is None:
        return ""
    return f"{metric.delta:+.4g} ({metric.delta_low:+.4g} to {metric.delta_high:+.4g})"


def _runs(files: Study, design: Design, task: str) -> list[list[str]]:
    """Rows of the table of layers: one for each run of consecutive layers with the same pair."""
    layers = [layer.name for layer in files.record.tasks[task].layers]
    formats = design.assignments[task]

    def pair(layer: str) -> str:
        return str(formats[layer].choice)

    return [[", ".join(run), key] for key, run in ((k, list(g)) for k, g in itertools.groupby(layers, pair))]


def _readings(files: Study) -> dict[str, Reading]:
    return {goal.name: reading(files, goal) for goal in files.front.objectives}


def _heading(each: Reading) -> str:
    return f"{each.label}, higher is better" if each.better == "higher" else each.label


def _baselines(files: Study) -> str:
    read = _readings(files)
    rows = [
        [
            b.label,
            *(each.text(b.objectives[name]) for name, each in read.items()),
            b.dominated_by or "",
            b.note,
        ]
        for b in files.record.baselines
    ]
    if not rows and not files.measured:
        return ""  # one choice of formats: nothing to compare
    title = "## Uniform formats" if files.measured else "## Formats compared"
    columns = ["design", *map(_heading, read.values()), "dominated by", "designs on its own front"]
    return f"{title}\n\n{table(columns, rows)}"


def _examples(files: Study) -> str:
    parts = []
    for task, shown in files.examples.items():
        texts = {key: items for key, items in shown.items() if items and "text" in items[0]}
        if not texts:
            continue
        first = next(iter(texts.values()))
        rows = [[item["source"], item["target"], *(texts[k][i]["text"] for k in texts)] for i, item in enumerate(first)]
        parts.append(f"## Examples of {task}\n\n" + table(["source", "right answer", *texts], rows))
    return "\n\n".join(parts)
