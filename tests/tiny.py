"""The tiny network of conftest.py as a task that a search space can name."""

from __future__ import annotations

from typing import Any

from tests.conftest import make_tiny_task


def task() -> tuple[Any, Any, Any, None]:
    made = make_tiny_task()
    return made.module, made._calibration, made._evaluation, None


def broken() -> tuple[Any, Any, Any, None]:
    """The same with NaN in a weight."""
    module, calibration, evaluation, metric = task()
    module.head.weight.data[0, 0] = float("nan")
    return module, calibration, evaluation, metric
