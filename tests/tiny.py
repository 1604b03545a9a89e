"""The tiny network of conftest.py as a task that a search space can name."""

from __future__ import annotations

from typing import Any

import torch

from tests.conftest import TinyAttention, make_tiny_task, stripes


def task() -> tuple[Any, Any, Any, None]:
    made = make_tiny_task()
    return made.module, made._calibration, made._evaluation, None


def broken() -> tuple[Any, Any, Any, None]:
    """The same with NaN in a weight."""
    module, calibration, evaluation, metric = task()
    module.head.weight.data[0, 0] = float("nan")
    return module, calibration, evaluation, metric


def untrained() -> tuple[Any, Any, Any, None]:
    """The same network as it begins, for its workload: nothing is trained."""
    image, _ = stripes(4, torch.Generator().manual_seed(0))
    return TinyAttention(), image, image, None
