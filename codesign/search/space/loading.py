"""Loading a task as a space file writes it."""

from __future__ import annotations

from pathlib import Path

from codesign.models import Task, load_task
from codesign.models.custom import CustomTask
from codesign.models.preparation import prepared_by
from codesign.search.space.written import TaskSpec


def load_written(spec: TaskSpec, name: str, folder: Path) -> Task:
    """The task `name` with its data and sizes, its network prepared; folder: from which its files are named.

    Raises InputError as `load_task` does.
    """
    task = load_task(spec.task, name=name, search_path=folder, options=spec.options)
    if isinstance(task, CustomTask):
        task.unseen = spec.unseen
    return prepared_by(task, spec.prepare)
