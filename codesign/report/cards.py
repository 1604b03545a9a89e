"""The title row of the page: how good the balanced design is, what it costs, and what the numbers mean."""

from __future__ import annotations

from dataclasses import dataclass

from codesign.designs import AtEqualSize, Design, Study, TaskCost
from codesign.human import human
from codesign.report.words import MetricWords, metric_words, pair_words, reading

_INT8 = "int8:int8"
# what a person compares with INT8 first: pairs by what their name begins with, and the name for people
_FAMILIES = (
    ("fp8_e4m3:fp8_e4m3", "FP8"),
    ("mxfp8_e4m3:mxfp8_e4m3", "MXFP8"),
    ("fp4_e2m1", "FP4"),
    ("nvfp4:nvfp4", "NVFP4"),
    ("mxfp4:mxfp4", "MXFP4"),
)


@dataclass(frozen=True)
class Card:
    """One figure of the title row, its meaning in lines, and further figures as rows of (name, value)."""

    title: str
    value: str
    unit: str
    lines: tuple[str, ...] = ()
    rows: tuple[tuple[str, str], ...] = ()
    metrics: tuple[tuple[str, str], ...] = ()  # as rows, with long values


def samples_of(files: Study, task: str) -> str:
    """What the samples of a network are, in the plural: images or texts if its examples tell."""
    shown = next((items for items in files.examples.get(task, {}).values() if items), None)
    if not shown:
        return "samples"
    return "images" if "png" in shown[0] else "texts"


def cards(files: Study) -> list[Card]:
    """The title row: the quality of each network, the chip, and the speed and energy of each network."""
    chosen = files.chosen
    found = [_quality(files, chosen, task) for task in chosen.quality]
    if files.hardware:
        found.append(_area(files, chosen))
    found += [_speed(files, task, cost) for task, cost in chosen.cost.tasks.items()] if files.hardware else []
    return found + ([] if files.hardware else [_weights(chosen)])


def lead(files: Study) -> str:
    """The first sentence: what the figures are of."""
    chosen = files.chosen
    formats = f"{len(chosen.formats())} formats in its layers" if len(chosen.formats()) > 1 else "one format throughout"
    unit = f", units for {', '.join(map(pair_words, chosen.accelerator.pairs))}" if files.hardware else ""
    measured = "measured on the networks themselves" if files.measured else "priced with given formats"
    return f"The balanced design {chosen.id}, {measured}: {formats}{unit}. Other designs trade one figure for another."


def _quality(files: Study, design: Design, task: str) -> Card:
    goal = next((goal for goal in files.front.objectives if goal.name == f"{task}.quality"), None)
    quality, samples = design.quality[task], samples_of(files, task)
    words = [metric_words(metric, samples) for metric in design.metrics.get(task, ())]
    lines = []
    if goal is not None:
        read = reading(files, goal)
        title, value, unit = read.label, read.text(quality.value).removesuffix(read.unit).strip(), read.unit
        lines.append(f"95 % interval {read.interval(quality.low, quality.high)}, {quality.n} {samples}")
        if read.kind == "decibel":
            lines.append("squared error to the float network's outputs, as a PSNR: higher is closer")
    else:
        title, value, unit = f"{task}: {quality.metric}", f"{quality.value:.4g}", quality.unit
        lines.append(f"95 % interval {quality.low:.4g} to {quality.high:.4g}, {quality.n} {samples}")
    metrics = tuple((each.label, _in_full(each)) for each in words[1:] if not each.label.startswith("KL"))
    return Card(title, value, unit, tuple(lines), metrics=metrics)


def _in_full(metric: MetricWords) -> str:
    """A metric with its interval, the float network's own, the change and what it means."""
    parts = [f"{metric.value} ({metric.interval})"]
    if metric.float_value:
        parts.append(f"float {metric.float_value}")
    if metric.change:
        parts.append(f"change {metric.change}: {metric.verdict}")
    return ", ".join(parts)


def _area(files: Study, design: Design) -> Card:
    cost, chip = design.cost, design.accelerator
    interval = f"{cost.area_low_mm2:.3g} to {cost.area_high_mm2:.3g}"
    lines = [f"from {interval}, the interval of the area model at {chip.node_nm:g} nm"]
    alone = next((b for b in files.record.baselines if b.label == f"uniform {_INT8}"), None)
    if alone is not None and alone.id != design.id:
        lines.append(f"{cost.area_mm2 / alone.cost.area_mm2:.2f} x the chip that suits INT8 everywhere best")
    rows = [(part.name.replace("_", " "), f"{part.area_mm2:.3g} mm2") for part in cost.components]
    return Card("Area of the chip", f"{cost.area_mm2:.3g}", "mm2", tuple(lines), tuple(rows))


def _speed(files: Study, task: str, cost: TaskCost) -> Card:
    passes, rows = cost.latency_per_pass_s, [("energy of one result", human(cost.energy_j, "J"))]
    rows += [("weights", human(cost.weight_bytes, "B")), ("DRAM traffic", human(cost.dram_bytes, "B"))]
    if decode := passes.get("decode"):
        rows.insert(0, ("one token", human(decode, "s")))
        if "prefill" in passes:
            rows.insert(0, ("prefill", human(passes["prefill"], "s")))
        rows.append(("whole answer", human(cost.latency_s, "s")))
        lines = ["by the cycle model, which has no interval; energy is of the whole answer"]
        rounded = float(f"{1 / decode:.3g}")
        return Card(f"{task}: speed", f"{rounded:,g}", "tokens/s", tuple(lines), tuple(rows))
    what = "image" if samples_of(files, task) == "images" else "result"
    if len(passes) == 1 and (one := next(iter(passes.values()))) < 0.999 * cost.latency_s:
        rows.insert(0, ("one pass", human(one, "s")))
    rows.append((f"{what}s a second", f"{1 / cost.latency_s:.3g}"))
    value, unit = _millis(cost.latency_s)
    return Card(f"{task}: time of one {what}", value, unit, ("by the cycle model, which has no interval",), tuple(rows))


def _millis(seconds: float) -> tuple[str, str]:
    value, _, unit = human(seconds, "s").partition(" ")
    return value, unit


def _weights(design: Design) -> Card:
    value, _, unit = human(design.cost.weight_bytes, "B").partition(" ")
    return Card("Weights of all networks", value, unit, ("with the scales of blocks and groups",))


def equal_size(files: Study) -> list[str]:
    """Sentences: what FP8 and FP4 cost and lose against INT8 on one and the same chip."""
    every = {each.pair.split("+")[0]: each for each in files.record.equal_size}
    ours = every.get(_INT8)
    if ours is None:
        return []
    found = []
    for start, name in _FAMILIES:
        other = next((each for pair, each in every.items() if pair.startswith(start)), None)
        if other is not None:
            found.append(_against(files, name, other, ours))
    return found


def _against(files: Study, name: str, other: AtEqualSize, ours: AtEqualSize) -> str:
    area, chip = other.array_mm2 / ours.array_mm2, other.area_mm2 / ours.area_mm2
    energy = sum(other.energy_j.values()) / sum(ours.energy_j.values())
    losses = []
    for goal in files.front.objectives:
        task, _, field = goal.name.rpartition(".")
        if field == "quality" and task in other.quality:
            read, theirs, own = reading(files, goal), other.quality[task], ours.quality[task]
            apart = "" if theirs.high < own.low or own.high < theirs.low else " (their intervals overlap)"
            losses.append(f"{task} has {read.text(theirs.value)}, not {read.text(own.value)}{apart}")
    return (
        f"{name}: compute units {area:.2f} x the area, chip {chip:.2f} x, energy {energy:.2f} x; {'; '.join(losses)}."
    )
