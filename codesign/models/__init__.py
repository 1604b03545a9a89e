"""Networks that can be scored: bundled tasks and those of installed packages by name, a user's own by function.

A package adds a task by an entry point of the group ``codesign.tasks``: its name is the task's, its object a function
that returns a `Task`, or what a ``python:module:function`` returns.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

from codesign.errors import InputError, nearest
from codesign.models.task import Direction, Example, ImageExample, Outputs, Samples, Task, TextExample
from codesign.plugins import PREFIX, installed
from codesign.workload import Workload

BUNDLED = {"restore": "codesign.models.restore", "rewrite": "codesign.models.rewrite"}

__all__ = [
    "BUNDLED",
    "Direction",
    "Example",
    "ImageExample",
    "Outputs",
    "Samples",
    "Task",
    "TextExample",
    "installed_tasks",
    "is_task",
    "load_task",
    "workload_called",
]


def load_task(spec: str, *, name: str | None = None, search_path: Path | None = None) -> Task:
    """The task called `spec`; `name` is its key in the study, `search_path` is tried for user modules.

    Raises InputError on an unknown name, or when the user's function is missing or returns something else.
    """
    if spec.startswith(PREFIX):
        from codesign.models.custom import load_custom

        return load_custom(spec, name=name, search_path=search_path)
    if spec in (others := installed_tasks()):
        from codesign.models.custom import as_task

        return as_task(spec, name or spec, others[spec].load()())
    if spec not in BUNDLED:
        known = [*BUNDLED, *others, "python:package.module:function"]
        raise InputError(f"unknown task '{spec}'{nearest(spec, known)}")
    load: Callable[[], Task] = importlib.import_module(BUNDLED[spec]).load
    task = load()
    task.name = name or task.name
    return task


def installed_tasks() -> dict[str, EntryPoint]:
    """Tasks that installed packages add; a bundled one's name is taken."""
    return {name: point for name, point in installed("codesign.tasks").items() if name not in BUNDLED}


def is_task(name: str) -> bool:
    """Whether `name` is that of a task, which has a network to run, and not of a network known by its shapes."""
    return name in BUNDLED or name.startswith(PREFIX) or name in installed_tasks()


def workload_called(name: str, *, search_path: Path | None = None) -> Workload:
    """The workload of a bundled or ``python:`` task, or of a network known by name, with its options if it has any.

    Raises InputError on an unknown name or option; the nearest valid one is offered.
    """
    if is_task(name):
        return load_task(name, search_path=search_path).workload()
    from codesign.workload import named_workload, workload_names  # builds networks, which no task needs

    network, known = name.partition(":")[0], [*BUNDLED, *workload_names()]
    if network not in known:
        raise InputError(f"unknown network '{network}'{nearest(network, known)}")
    return named_workload(name)
