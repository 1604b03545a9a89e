"""The report of a study: report.html, report.md and front.csv, made from the files of its folder."""

from __future__ import annotations

from pathlib import Path

from codesign.designs import Study, load_study
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
    """front.csv: one row per reported design."""
    rows = []
    for d in files.front:
        row: dict[str, object] = {"id": d.id, **d.objectives, "told_apart": int(d.told_apart)}
        for task, quality in d.quality.items():
            row |= {f"{task}.{quality.metric}.{key}": getattr(quality, key) for key in ("value", "low", "high", "n")}
        if files.hardware:
            row |= {key: value for key, value in d.cost if isinstance(value, (int, float))}
            chip = d.accelerator.model_dump(exclude_none=True)
            row |= {key: "+".join(value) if key == "pairs" else value for key, value in chip.items()}
        rows.append(row)
    return csv_text(rows)
