"""Networks that can be scored: the bundled tasks by name, a user's own by ``python:module:function``."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from codesign.errors import InputError, nearest
from codesign.models.task import Direction, Outputs, Samples, Task

BUNDLED = {"restore": "codesign.models.restore", "rewrite": "codesign.models.rewrite"}

__all__ = ["BUNDLED", "Direction", "Outputs", "Samples", "Task", "load_task"]


def load_task(spec: str, *, name: str | None = None, search_path: Path | None = None) -> Task:
    """The task called `spec`; `name` is its key in the study, `search_path` is tried for user modules.

    Raises InputError on an unknown name, or when the user's function is missing or returns something else.
    """
    if spec.startswith("python:"):
        from codesign.models.custom import load_custom

        return load_custom(spec, name=name, search_path=search_path)
    if spec not in BUNDLED:
        raise InputError(f"unknown task '{spec}'{nearest(spec, [*BUNDLED, 'python:package.module:function'])}")
    load: Callable[[], Task] = importlib.import_module(BUNDLED[spec]).load
    task = load()
    task.name = name or task.name
    return task
