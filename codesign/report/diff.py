"""Comparison of two studies with the same objectives: what changed, and whether by more than noise."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import moocore
import numpy as np

from codesign.designs import Design, Goal, Metric, Study, load_study
from codesign.errors import InputError
from codesign.formats import Assignment, LayerFormats
from codesign.report.markdown import table
from codesign.report.words import Reading, reading
from codesign.search.engine.pareto import hypervolume
from codesign.search.study.representatives import unit_box

DRAWS = 400  # of the measured qualities, for the interval of the hypervolume's change
_EQUAL = 1e-9  # relative change of the hypervolume that rounding may cause
_STANDARD_DEVIATIONS = 2 * 1.959964  # width of a 95 % interval

Verdict = Literal["better", "same", "worse"]


@dataclass(frozen=True)
class Remeasured:
    """A network in the same formats in both studies, whose deciding metric differs."""

    design: str
    task: str
    old: float
    new: float
    moved: Literal["worse", "within noise", "better"]  # judged by the old study's interval


@dataclass(frozen=True)
class Difference:
    """The comparison of a new study with an old one. Tuples are (old, new)."""

    old: str
    new: str
    verdict: Verdict
    reference_point: dict[str, float]
    hypervolume: tuple[float, float]
    change: float  # of the hypervolume, relative to the old one
    change_low: float  # with change_high its 95 % interval
    change_high: float
    # additive epsilon indicator on objectives scaled to both fronts: the least shift by which the new front weakly
    # dominates the old one, and the old front the new one
    epsilon: tuple[float, float]
    kept: list[str]  # ids of designs in both studies
    gained: list[str]
    lost: list[str]
    newly_dominated: list[str]  # old designs that a new one dominates
    remeasured: list[Remeasured]
    balanced: tuple[str, str]  # ids of the balanced designs
    balanced_objectives: dict[str, tuple[float, float]]
    readings: dict[str, Reading]  # objectives, and qualities in `remeasured` as TASK.quality -> how people read them
    formats: dict[str, dict[str, tuple[str, str]]]  # task -> layer -> formats in the balanced designs, if they differ
    notes: list[str]  # other differences between the studies

    def to_dict(self) -> dict[str, object]:
        """The comparison as JSON types."""
        found: dict[str, object] = json.loads(json.dumps(asdict(self)))
        return found


def compare(old: Path, new: Path) -> Difference:
    """Compare two studies.

    The hypervolumes are those of the reported designs that are better than every cheaper one by more than noise, at a
    common reference point. The interval of their difference is that of 400 Monte Carlo draws of all measured qualities
    from their own intervals; a network in the same formats takes the same draw in both studies, as both measure it on
    the same data. The verdict is `better` or `worse` if the whole interval lies on one side of zero; it is also `worse`
    if a network in the same formats measures worse than its old interval allows.

    Args:
        old: folder of the study to compare with.
        new: folder of the new study.
    Raises:
        InputError: a folder holds no study, or the studies differ in their objectives, or in the metric, unit, scale,
            ranges or data of a network's quality.
    """
    before, after = (told_apart(load_study(folder)) for folder in (old, new))
    check_comparable(before, after)
    reference = np.maximum(before.front.reference_point, after.front.reference_point)
    points = [points_of(files.front) for files in (before, after)]
    volumes = hypervolume(points[0], reference), hypervolume(points[1], reference)
    scale = max(volumes[0], 1e-300)
    drawn = _drawn_changes(before, after, reference) / scale
    remeasured = _remeasured(before, after)
    low, high = (float(v) for v in np.quantile(drawn, [0.025, 0.975]))
    change = (volumes[1] - volumes[0]) / scale
    low, high = min(low, change), max(high, change)
    names = [{d.id for d in files.front} for files in (before, after)]
    beaten = [_dominated(point, points[1]) for point in points[0]]
    box = np.split(unit_box(np.concatenate(points)), [len(points[0])])
    chosen = [files.chosen for files in (before, after)]
    return Difference(
        old=str(old),
        new=str(new),
        verdict=_verdict(low, high, remeasured),
        reference_point=dict(zip(_objectives(before), reference.tolist(), strict=True)),
        hypervolume=volumes,
        change=change,
        change_low=low,
        change_high=high,
        epsilon=(float(moocore.epsilon_additive(box[1], ref=box[0])), float(moocore.epsilon_additive(*box))),
        kept=sorted(names[0] & names[1]),
        gained=sorted(names[1] - names[0]),
        lost=sorted(names[0] - names[1]),
        newly_dominated=[d.id for d, lost in zip(before.front, beaten, strict=True) if lost],
        remeasured=remeasured,
        balanced=(chosen[0].id, chosen[1].id),
        balanced_objectives={
            name: (chosen[0].objectives[name], chosen[1].objectives[name]) for name in _objectives(before)
        },
        readings=_readings(after),
        formats=_format_changes(*(design.assignments for design in chosen)),
        notes=_notes(before, after),
    )


def _readings(files: Study) -> dict[str, Reading]:
    qualities = [Goal(name=f"{task}.quality", unit="") for task in files.front.designs[0].quality]
    return {goal.name: reading(files, goal) for goal in [*qualities, *files.front.objectives]}


def told_apart(files: Study) -> Study:
    """The study with only the designs that are better than every cheaper one by more than noise."""
    designs = tuple(design for design in files.front if design.told_apart)
    return replace(files, front=files.front.model_copy(update={"designs": designs}))


def _objectives(files: Study) -> list[str]:
    return [o.name for o in files.front.objectives]


def check_comparable(old: Study, new: Study) -> None:
    """Raise InputError if objectives or qualities of the two studies are defined differently."""
    if _objectives(old) != _objectives(new):
        lists = [", ".join(_objectives(files)) for files in (old, new)]
        raise InputError(f"{new.folder}: its objectives ({lists[1]}) are not those of {old.folder} ({lists[0]})")
    for task in new.record.tasks:
        before, after = _measures(old, task), _measures(new, task)
        for what in after:
            if what in before and before[what] != after[what]:
                raise InputError(
                    f"{new.folder}: {task}: its {what} ({after[what] or 'none'}) is not that of {old.folder} "
                    f"({before[what] or 'none'}): their qualities do not compare"
                )


def _measures(files: Study, task: str) -> dict[str, str]:
    """The definition of a network's quality; older studies record less of it, and had one rule for ranges."""
    if not files.measured or task not in files.record.tasks:
        return {}
    measured, facts = files.record.tasks[task], files.front.tasks.get(task)
    more = {"scale": facts.scale, "ranges": facts.ranges, "data": facts.data} if facts else {"ranges": "mse"}
    unit = {"metric": facts.metric, "unit": facts.unit} if facts else {}
    return {"metric": measured.metric, "unit": measured.unit} | unit | more


def _notes(old: Study, new: Study) -> list[str]:
    """Other differences between the studies, which may be the cause."""
    what = {
        "space_hash": "search space",
        "code_version": "code that measures",
        "cost_version": "cost model",
        "seed": "seed",
        "evaluations": "evaluations",
    }
    what["reference_point"] = "own reference point (the larger one serves both)"
    values = {key: (getattr(old.front, key), getattr(new.front, key)) for key in what}
    return [
        f"{what[key]}: {_plain(before)} before, {_plain(after)} now"
        for key, (before, after) in values.items()
        if before != after
    ]


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def points_of(designs: Iterable[Design]) -> np.ndarray:
    return np.array([list(design.objectives.values()) for design in designs], dtype=np.float64)


def _dominated(point: np.ndarray, by: np.ndarray) -> bool:
    return bool(((by <= point).all(axis=1) & (by < point).any(axis=1)).any())


def _drawn_changes(old: Study, new: Study, reference: np.ndarray) -> np.ndarray:
    """Differences of hypervolume [DRAWS]."""
    volumes = drawn_volumes([old, new], reference)
    return np.asarray(volumes[1] - volumes[0])


def drawn_volumes(studies: Sequence[Study], reference: np.ndarray) -> list[np.ndarray]:
    """Hypervolumes of each study [DRAWS], with all qualities drawn from normal distributions with their intervals.

    A network in the same formats takes the same draw in every study.
    """
    rng = np.random.default_rng(0)
    draws: dict[str, np.ndarray] = {}
    volumes = []
    for files in studies:
        points = np.repeat(points_of(files.front)[None], DRAWS, axis=0)
        for column, name in enumerate(files.front.names):
            task, _, field = name.rpartition(".")
            if field != "quality":
                continue
            for row, design in enumerate(files.front):
                key = _in_words(design, task)
                if key not in draws:
                    draws[key] = rng.standard_normal(DRAWS)
                quality = design.quality[task]
                points[:, row, column] += draws[key] * (quality.high - quality.low) / _STANDARD_DEVIATIONS
        volumes.append(np.array([hypervolume(drawn, reference) for drawn in points]))
    return volumes


def _in_words(design: Design, task: str) -> str:
    return task + design.assignments[task].digest()


def _remeasured(old: Study, new: Study) -> list[Remeasured]:
    """The networks that both studies measured in the same formats, with different results."""
    before = {_in_words(design, task): quality for design in old.front for task, quality in design.quality.items()}
    found: dict[str, Remeasured] = {}
    for design in new.front:
        for task, quality in design.quality.items():
            key = _in_words(design, task)
            if key in before and not np.isclose(quality.value, before[key].value, rtol=1e-6, atol=1e-9):
                found[key] = Remeasured(
                    design.id, task, before[key].value, quality.value, _moved(before[key], quality.value)
                )
    return list(found.values())


def _moved(before: Metric, value: float) -> Literal["worse", "within noise", "better"]:
    if before.low <= value <= before.high:
        return "within noise"
    return "worse" if value > before.high else "better"


def _format_changes(
    old: Mapping[str, Assignment], new: Mapping[str, Assignment]
) -> dict[str, dict[str, tuple[str, str]]]:
    changes: dict[str, dict[str, tuple[str, str]]] = {}
    for task in old:
        texts = [{layer: _formats(given) for layer, given in layers[task].items()} for layers in (old, new)]
        changed = {
            layer: (text, texts[1].get(layer, "no such layer"))
            for layer, text in texts[0].items()
            if texts[1].get(layer) != text
        }
        if changed:
            changes[task] = changed
    return changes


def _formats(given: LayerFormats) -> str:
    if given.weight is not None:
        return str(given.choice)
    return f"{given.key}, {given.value}:{given.activation}"


def _verdict(low: float, high: float, remeasured: list[Remeasured]) -> Verdict:
    if high < -_EQUAL or any(found.moved == "worse" for found in remeasured):
        return "worse"
    return "better" if low > _EQUAL else "same"


def as_markdown(found: Difference, most: int = 12) -> str:
    """The comparison as a message in Markdown: verdict, then changes; lists are cut to `most` entries."""
    before, after = found.hypervolume
    say = {"better": "is better", "same": "shows no change beyond noise", "worse": "is WORSE"}[found.verdict]
    lines = [
        f"**{found.new} {say}** against {found.old}",
        "",
        f"- hypervolume {before:.5g} -> {after:.5g}: {found.change:+.2%} "
        f"(95 % interval {found.change_low:+.2%} to {found.change_high:+.2%})",
        f"- epsilon: the new front covers the old one within {found.epsilon[0]:.3f} of its span, "
        f"the old one the new within {found.epsilon[1]:.3f}",
        f"- designs: {len(found.kept)} kept, {_listed(found.gained, 'gained', most)}, "
        f"{_listed(found.lost, 'lost', most)}, {_listed(found.newly_dominated, 'newly dominated', most)}",
    ]
    lines += [f"- {note}" for note in found.notes]
    for item in found.remeasured[:most]:
        before_now = " -> ".join(remeasured_words(found, item))
        lines.append(f"- {item.task} of {item.design} in the same formats: {before_now}, {item.moved}")
    if len(found.remeasured) > most:
        lines.append(f"- and {len(found.remeasured) - most} more networks measured otherwise in the same formats")
    columns = ["balanced design", f"`{found.balanced[0]}`", f"`{found.balanced[1]}`", ""]
    lines += ["", table(columns, balanced_words(found))]
    layers = [(t, layer, *change) for t, changed in found.formats.items() for layer, change in changed.items()]
    if layers:
        lines += ["", table(["task", "layer", "formats before", "now"], layers[:most])]
    if len(layers) > most:
        lines.append(f"\nand {len(layers) - most} more layers (`--json` has all)")
    return "\n".join(lines) + "\n"


def balanced_words(found: Difference) -> list[list[str]]:
    """The objectives of the balanced designs as people read them: label, before, now, change."""
    rows = []
    for name, (before, after) in found.balanced_objectives.items():
        read = found.readings[name]
        rows.append([read.label, read.text(before), read.text(after), read.change(before, after)])
    return rows


def remeasured_words(found: Difference, item: Remeasured) -> tuple[str, str]:
    """(before, now) of a network that was measured again, as people read them."""
    read = found.readings[f"{item.task}.quality"]
    return read.text(item.old), read.text(item.new)


def _listed(names: list[str], what: str, most: int) -> str:
    if not names:
        return f"none {what}"
    shown = ", ".join(f"`{name}`" for name in names[:most])
    return f"{len(names)} {what} ({shown}{', ...' if len(names) > most else ''})"
