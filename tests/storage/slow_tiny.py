"""The tiny network with evaluations that take their time, and say so in a file: something to be killed in."""

from __future__ import annotations

import os
import time
from typing import Any

from torch import Tensor, nn

from tests import tiny


class Slow(nn.Module):
    """A network whose every forward pass takes as long as the environment says."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Any:
        time.sleep(float(os.environ.get("SLOW_TINY_S", "0")))
        return self.inner(x)


def task() -> tuple[Any, Any, Any, None]:
    module, calibration, evaluation, metric = tiny.task()
    return Slow(module), calibration, evaluation, metric
