"""An index over all runs of a study: how its hypervolume went, what was gained and lost, and the diff of each step.

The runs of a study are its front and those that stand in its folder ``earlier``; or, where a folder holds one study a
night, the studies in its subfolders.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from string import Template

import numpy as np

from codesign.designs import Study, earlier, load_study
from codesign.designs.folder import FRONT
from codesign.errors import InputError
from codesign.files import read_text, write_atomic
from codesign.report.diff import Difference, check_comparable, compare, drawn_volumes, points_of, told_apart
from codesign.report.diff_page import VERDICTS, diff_page
from codesign.report.page import library, packed
from codesign.search.engine.pareto import hypervolume

PAGE, DIFFS = "nights.html", "diffs"  # what is written into the folder
_TEMPLATE = Path(__file__).parent / "template"


@dataclass(frozen=True)
class Night:
    """One run of a study in the index; what is compared is against the run before."""

    name: str
    created: str
    evaluations: int
    front_size: int
    code_version: str
    hypervolume: float | None = None  # None if it does not compare with the newest run
    low: float | None = None  # with `high` its 95 % interval
    high: float | None = None
    verdict: str = ""  # empty for the first of all
    why_not: str = ""  # why it does not compare with the newest run, or with the one before
    change: tuple[float, float, float] | None = None  # of the hypervolume, with its interval
    gained: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    report: str = ""  # address of its report, if there is one
    diff: str = ""  # address of its diff


def nights_of(folder: Path) -> list[Path]:
    """The folders of all runs, oldest first.

    Raises InputError if the folder is no study and no subfolder is one.
    """
    if (folder / FRONT).exists():
        return [*earlier(folder), folder]
    found = [path.parent for path in folder.glob(f"*/{FRONT}")]
    if not found:
        raise InputError(f"{folder}: no study here ({FRONT} is missing), and none in its subfolders")
    return sorted(found, key=lambda each: (load_study(each).front.created, each.name))


def write_nights(folder: Path) -> Path:
    """Write nights.html, and a page for each diff below ``diffs``; returns the path of the index.

    Raises InputError if there is no study or a damaged one, EnvironmentProblem if the folder cannot be written.
    """
    paths = nights_of(folder)
    studies = [told_apart(load_study(path)) for path in paths]
    nights = _with_volumes(studies, [_night(folder, files) for files in studies])
    for i in range(1, len(paths)):
        nights[i] = _compared(folder, paths[i - 1], paths[i], nights[i])
    index = folder / PAGE
    write_atomic(index, nights_page(str(studies[-1].front.study), nights))
    return index


def nights_page(study: str, nights: Sequence[Night]) -> str:
    """The index as a page, with its numbers in it."""
    parts = {
        "css": read_text(_TEMPLATE / "report.css"),
        "library": library(),
        "js": "\n".join(read_text(_TEMPLATE / "js" / f"{name}.js") for name in ("base", "nights")),
        "data": packed({"study": study, "nights": [asdict(night) for night in nights]}),
    }
    title = study.replace("&", "&amp;").replace("<", "&lt;")
    return Template(read_text(_TEMPLATE / "nights.html")).substitute(parts, title=title)


def _night(folder: Path, files: Study) -> Night:
    front, report = files.front, files.folder / "report.html"
    return Night(
        name=files.folder.name,
        created=front.created,
        evaluations=front.evaluations,
        front_size=front.front_size,
        code_version=front.code_version,
        report=_address(folder, report) if report.exists() else "",
    )


def _address(folder: Path, target: Path) -> str:
    return Path(os.path.relpath(target, folder)).as_posix()


def _with_volumes(studies: Sequence[Study], nights: Sequence[Night]) -> list[Night]:
    """The hypervolumes of all that compare with the newest, at one reference point, with their intervals."""
    reasons = [_why_not(files, studies[-1]) for files in studies]
    same = [files for files, why in zip(studies, reasons, strict=True) if not why]
    reference = np.max([files.front.reference_point for files in same], axis=0)
    drawn = iter(drawn_volumes(same, reference))
    found = []
    for files, night, why in zip(studies, nights, reasons, strict=True):
        if why:
            found.append(replace(night, why_not=why))
            continue
        volume, (low, high) = hypervolume(points_of(files.front), reference), np.quantile(next(drawn), [0.025, 0.975])
        ends = min(float(low), volume), max(float(high), volume)
        found.append(replace(night, hypervolume=volume, low=ends[0], high=ends[1]))
    return found


def _why_not(old: Study, new: Study) -> str:
    try:
        check_comparable(old, new)
    except InputError as error:
        return str(error)
    return ""


def _compared(folder: Path, old: Path, new: Path, night: Night) -> Night:
    """A night with its diff against the one before, which is written."""
    try:
        found: Difference = compare(old, new)
    except InputError as error:
        return replace(night, verdict="not comparable", why_not=str(error))
    target = folder / DIFFS / f"{night.created[:19].replace(':', '')}.html"
    write_atomic(target, diff_page(found, back=f"../{PAGE}"))
    return replace(
        night,
        verdict=VERDICTS[found.verdict],
        change=(found.change, found.change_low, found.change_high),
        gained=tuple(found.gained),
        lost=tuple(found.lost),
        diff=_address(folder, target),
    )
