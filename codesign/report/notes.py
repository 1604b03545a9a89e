"""The text of notes for optuna-dashboard in Markdown: one for the study, one for each trial behind a reported design.

A trial measures an assignment of every network, for one accelerator. A design combines any measured assignments with
any accelerator. Therefore the note of a trial describes every reported design with a network that the trial measured,
and a design whose networks were measured by several trials appears in the note of each.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import FrozenTrial

from codesign.designs import Candidate, Design, Goal, Study
from codesign.errors import InputError
from codesign.human import human
from codesign.report.markdown import table
from codesign.report.text import chip, summary
from codesign.search.queue.trials import TrialResult, outcome

_WIDE = 110  # characters per line of an example
Places = dict[str, dict[str, FrozenTrial]]  # design -> task -> the trial that measured it


@dataclass(frozen=True)
class Book:
    """The data that the notes are made from."""

    files: Study
    places: Places
    study_id: int  # in the storage
    artifacts: Path  # folder of the artifacts
    report: str  # URL of report.html
    pictures: Mapping[tuple[str, str], str]  # (design, task) -> URL

    def trials(self) -> list[FrozenTrial]:
        """The trials that measured the networks of the reported designs."""
        found = {trial.number: trial for tasks in self.places.values() for trial in tasks.values()}
        return [found[number] for number in sorted(found)]

    def link(self, trial: FrozenTrial) -> str:
        """A link to the trial's page."""
        return f"[trial {trial.number}](/dashboard/studies/{self.study_id}/trials?numbers={trial.number})"


def measured_on(files: Study, trials: Sequence[FrozenTrial]) -> Places:
    """The trial that measured each network of each reported design.

    If several trials did, the one that measured most networks of the design is preferred, then the one that measured
    the design itself, then the first. Raises InputError if no trial measured a network in a design's formats.
    """
    found = [(trial, record) for trial in trials if isinstance(record := outcome(trial), TrialResult)]
    places: Places = {}
    for design in files.front:
        wanted = {task: assignment.digest() for task, assignment in design.assignments.items()}
        best = sorted(
            (-len(tasks), not _is_design(trial, design), trial.number, tasks, trial)
            for trial, record in found
            if (tasks := _shared(record, wanted))
        )
        places[design.id] = {}
        for *_, tasks, trial in best:
            for task in tasks:
                places[design.id].setdefault(task, trial)
        if missing := wanted.keys() - places[design.id].keys():
            task = min(missing)
            raise InputError(f"{files.folder}: no trial of this storage measured {task} as design {design.id} has it")
    return places


def _shared(record: TrialResult, wanted: Mapping[str, str]) -> list[str]:
    """The networks that the trial measured in the wanted formats, on all samples."""
    digests = Candidate.digests(record.key)
    return [t for t, digest in wanted.items() if digests.get(t) == digest and not record.quality[t].of_part]


def _is_design(trial: FrozenTrial, design: Design) -> bool:
    """Whether the trial measured this very design, including its accelerator."""
    return design.candidate is not None and trial.user_attrs.get("key") == design.candidate


def study_note(book: Book) -> str:
    """The note of the study: its results, and the trials behind each reported design."""
    files, front = book.files, book.files.front
    chosen = files.chosen
    designs = sorted(files.front, key=lambda d: next(iter(d.objectives.values())))
    names = [o.name for o in front.objectives]
    illustrated = {trial.number: book.link(trial) for d, t in book.pictures for trial in [book.places[d][t]]}
    pictures = f", as are the pictures in the notes of {' and '.join(illustrated.values())}" if illustrated else ""
    hypervolume = f"Hypervolume {front.hypervolume:.5g} after {front.evaluations} evaluations."
    parts = [
        f"Formats and hardware of {' and '.join(files.record.tasks)}; seed {front.seed}, space {front.space_hash}, "
        f"code {front.code_version}.",
        "\n".join(f"- {line}" for line in (hypervolume, *summary(files))),
        table(
            ["objective", "unit", "balanced design", "least", "most"],
            [[o.name, _unit(files, o), *_spread(designs, chosen, o)] for o in front.objectives],
        ),
        "## Reported designs",
        table(
            ["design", *names, *(["pairs of its unit"] if files.hardware else []), "measured by"],
            [
                [
                    _name(files, d),
                    *_values(files, d),
                    *[", ".join(d.accelerator.pairs)][: files.hardware],
                    _by(book, d),
                ]
                for d in designs
            ],
        ),
        "## Files",
        f"[report.html]({book.report}) shows every design layer by layer. It is an artifact{pictures}: "
        f"`optuna-dashboard STORAGE --artifact-dir {book.artifacts.resolve()}`. "
        f"For programs: `{files.folder.resolve()}/front.json`.",
    ]
    return "\n\n".join(parts)


def trial_note(book: Book, trial: FrozenTrial) -> str:
    """The note of a trial: every reported design with a network that it measured, its own design first."""
    designs = [d for d in book.files.front if trial.number in _numbers(book, d)]
    designs.sort(key=lambda d: not _is_design(trial, d))
    count = "One reported design uses" if len(designs) == 1 else f"{len(designs)} reported designs use"
    return "\n\n".join([f"{count} what this trial measured.", *(_section(book, d, trial) for d in designs)])


def _section(book: Book, design: Design, trial: FrozenTrial) -> str:
    """One design, in short lines, as the dashboard makes the page of a trial as wide as its longest attribute."""
    files = book.files
    whose = "this trial's" if _is_design(trial, design) else "not this trial's"
    lines = []
    if files.hardware:
        lines.append(f"- accelerator, {whose}:")
        lines += [f"  - {part}" for part in chip(design.accelerator).split("; ", 1)]
    for task, quality in design.quality.items():
        place = book.places[design.id][task]
        elsewhere = "" if place.number == trial.number else f", measured by {book.link(place)}"
        found = "{metric} {value:.4g} {unit} (95 %: {low:.4g} to {high:.4g}, n {n})".format(**quality.model_dump())
        pairs = ", ".join(f"{n} x {pair}" for pair, n in design.pairs(task).most_common())
        lines += [f"- {task}: {found}{elsewhere}", f"  - layers: {pairs}"]
    here = [t for t, place in book.places[design.id].items() if place.number == trial.number]
    shown = [_examples(book, design.id, task) for task in here if design.id in files.examples.get(task, ())]
    names = [o.name for o in files.front.objectives]
    values = table(names, [_values(files, design)])
    return "\n\n".join([f"## {_name(files, design)}", values, "\n".join(lines), *shown])


def _examples(book: Book, design: str, task: str) -> str:
    """The pictures or texts of a design next to those of the float network."""
    if (design, task) in book.pictures:
        return f"![{task}: input, float network, {design}, truth]({book.pictures[design, task]})"
    lines = [f"Examples of {task}:", ""]
    shown = book.files.examples[task]
    for right, mine in zip(shown["float"], shown[design], strict=True):
        lines.append(f"- {_plain(mine['source'])}")
        lines += [f"  - right answer: {_plain(mine['target'])}"]
        lines += [f"  - float network: {_plain(right['text'])}", f"  - {design}: {_plain(mine['text'])}"]
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Text in lines of _WIDE characters, escaped for Markdown and for the formulas of the dashboard."""
    lines = textwrap.wrap(text, _WIDE)
    return "\\\n    ".join(re.sub(r"([\\`*_\[\]<>$~#&|+-])", r"\\\1", line) for line in lines)


def _name(files: Study, design: Design) -> str:
    mine = files.roles(design)
    return ", ".join([f"`{design.id}`", *mine, *(["as good as a cheaper one"] if not design.told_apart else [])])


def _values(files: Study, design: Design) -> list[str]:
    return [human(design.objectives[o.name], o.unit) for o in files.front.objectives]


def _unit(files: Study, objective: Goal) -> str:
    """The unit of an objective; for a quality, its metric and unit."""
    task, _, field = objective.name.rpartition(".")
    if field != "quality":
        return objective.unit
    measured = files.record.tasks[task]
    return ", ".join(filter(None, [measured.metric, measured.unit]))


def _spread(designs: Sequence[Design], chosen: Design, objective: Goal) -> list[str]:
    values = [d.objectives[objective.name] for d in designs]
    return [human(v, objective.unit) for v in (chosen.objectives[objective.name], min(values), max(values))]


def _numbers(book: Book, design: Design) -> set[int]:
    return {trial.number for trial in book.places[design.id].values()}


def _by(book: Book, design: Design) -> str:
    """Links to the trials that measured a design, each with its network if there are several."""
    places = book.places[design.id]
    if len(_numbers(book, design)) == 1:
        return book.link(next(iter(places.values())))
    return ", ".join(f"{book.link(trial)} ({task})" for task, trial in places.items())
