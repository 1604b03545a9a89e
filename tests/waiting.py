"""Waiting for what other threads and processes do: by looking again, so that no test depends on how long they take."""

from __future__ import annotations

import time
from collections.abc import Callable

_PAUSE_S = 0.01  # between two looks


def wait_until(condition: Callable[[], object], looks: int = 12_000) -> None:
    """Look until `condition` holds; raises AssertionError after so many looks, two minutes of pauses."""
    for _ in range(looks):
        if condition():
            return
        time.sleep(_PAUSE_S)
    raise AssertionError("what was waited for did not come")
