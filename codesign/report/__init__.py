"""The report of a study: report.html, report.md and front.csv, made from the files of its folder."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from codesign.designs import Goal, Study, load_study
from codesign.files import csv_text, write_atomic
from codesign.report.markdown import markdown
from codesign.report.page import html

__all__ = ["Study", "load_study", "write_report"]


def write_report(folder: Path) -> tuple[Path, Path]:
    """Write report.md, report.html and front.csv into a study's folder; returns the paths of the first two.

    Raises InputError if the folder holds no study, EnvironmentProblem if it cannot be written.
    """
    files = load_study(folder)
    targets = folder / "report.md", folder / "report.html"
    write_atomic(targets[0], markdown(files))
    write_atomic(targets[1], html(files))
    write_atomic(folder / "front.csv", front_csv(files))
    return targets


def front_csv(files: Study) -> str:
    """front.csv: one row per reported design, with values as they are stored and units in the names of columns."""
    rows = []
    for d in files.front:
        stored = {_with_unit(goal): d.objectives[goal.name] for goal in files.front.objectives}
        row: dict[str, object] = {"id": d.id, **stored, "told_apart": int(d.told_apart)}
        row |= {f"{task}.formats": _counted(d.pairs(task)) for task in d.assignments}
        for task, quality in d.quality.items():
            row |= {f"{task}.{quality.metric}.{key}": getattr(quality, key) for key in ("value", "low", "high", "n")}
        if files.hardware:
            row |= {key: value for key, value in d.cost if isinstance(value, (int, float))}
            chip = d.accelerator.model_dump(exclude_none=True)
            row |= {key: "+".join(value) if key == "pairs" else value for key, value in chip.items()}
        rows.append(row)
    return csv_text(rows)


def _with_unit(goal: Goal) -> str:
    """The name of an objective; costs have their unit in it."""
    return f"{goal.name} ({goal.unit})" if goal.name.endswith(".quality") and goal.unit else goal.name


def _counted(pairs: Counter[str]) -> str:
    """Pairs with their numbers of layers: int4_g32:int8 x20, int8:int8 x10."""
    return ", ".join(f"{pair} x{layers}" for pair, layers in pairs.most_common())
