"""Tasks, the networks that can be scored: bundled ones, those of installed packages, and a user's own functions.

A package adds a task by an entry point in the group ``codesign.tasks`` with the name of the task. It refers to a
function that returns a `Task`, or the same as a function of ``python:module:function`` (see `user_task`).
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

from codesign.errors import InputError, nearest
from codesign.models.directories import TaskOptions, is_directory_task, load_directory
from codesign.models.task import Example, ImageExample, Outputs, Samples, Task, TextExample
from codesign.plugins import PREFIX, installed
from codesign.sources import digest, digest_of_package
from codesign.terms import Direction
from codesign.usercode import users
from codesign.workload import Workload

BUNDLED = {"restore": "codesign.models.restore", "rewrite": "codesign.models.rewrite"}
# not part of a bundled task's code: what these files make and describe, its weights, is hashed itself
NOT_DECIDING = ("train.py", "card.py", "card_text.py")

__all__ = [
    "BUNDLED",
    "NOT_DECIDING",
    "Direction",
    "Example",
    "ImageExample",
    "Outputs",
    "Samples",
    "Task",
    "TaskOptions",
    "TextExample",
    "installed_tasks",
    "is_task",
    "load_task",
    "workload_called",
]


def load_task(
    spec: str, *, name: str | None = None, search_path: Path | None = None, options: TaskOptions | None = None
) -> Task:
    """Load the task `spec`: a name, ``python:module:function``, ``transformers:DIR`` or ``diffusers:DIR``.

    name: its name in the study; search_path: folder in which user modules are searched, and from which directories and
    data are named; options: data, sizes and metric of a directory's task.
    Raises InputError on an unknown name, or if the user's function is missing or returns something else.
    """
    if options is not None and options.model_fields_set and not is_directory_task(spec):
        key = min(options.model_fields_set)
        raise InputError(f"task '{spec}': {key} goes with a task from a directory, transformers:DIR or diffusers:DIR")
    if is_directory_task(spec):
        usual = re.sub(r"\W+", "_", Path(spec.partition(":")[2]).name).strip("_").lower() or "network"
        from codesign.models.user_task import as_task

        directory = load_directory(spec, name=name or usual, folder=search_path, options=options)
        return as_task(spec, directory.name, directory)  # what the library's code raises is one line
    if spec.startswith(PREFIX):
        from codesign.models.user_task import load_custom

        return load_custom(spec, name=name, search_path=search_path)
    if spec in (others := installed_tasks()):
        from codesign.models.user_task import as_task, code_with_metric

        with users(f"task '{spec}' ({others[spec].value})"):
            result = others[spec].load()()
        found = as_task(spec, name or spec, result)
        names = others[spec].module.partition(".")[0], others[spec].module
        package, file = (sys.modules[each].__file__ for each in names)
        code = digest_of_package(Path(package)) if package else ""
        found.code = code_with_metric(found, code, Path(file).resolve() if file else None)
        return found
    if spec not in BUNDLED:
        known = [*BUNDLED, *others, "python:package.module:function", "transformers:DIR", "diffusers:DIR"]
        raise InputError(f"unknown task '{spec}'{nearest(spec, known)}")
    module = importlib.import_module(BUNDLED[spec])
    load: Callable[[], Task] = module.load
    task = load()
    task.name, task.bundled = name or task.name, True
    folder = Path(str(module.__file__)).parent
    task.code = digest([file for file in folder.rglob("*.py") if file.name not in NOT_DECIDING], folder)
    return task


def installed_tasks() -> dict[str, EntryPoint]:
    """Tasks of installed packages, except names of bundled tasks."""
    return {name: point for name, point in installed("codesign.tasks").items() if name not in BUNDLED}


def is_task(name: str) -> bool:
    """Whether `name` is that of a task, whose network can be run, and not of a named network without weights."""
    return name in BUNDLED or name.startswith(PREFIX) or is_directory_task(name) or name in installed_tasks()


def workload_called(name: str, *, search_path: Path | None = None) -> Workload:
    """The workload of a task, or of a named network with its options.

    Raises InputError on an unknown name or option, naming the nearest valid one.
    """
    if is_task(name):
        return load_task(name, search_path=search_path).workload()
    from codesign.workload import named_workload, workload_names  # slow to import, and not needed for tasks

    network, known = name.partition(":")[0], [*BUNDLED, *workload_names()]
    if network not in known:
        raise InputError(f"unknown network '{network}'{nearest(network, known)}")
    return named_workload(name)
