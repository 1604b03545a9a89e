"""The progress callback of long computations."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int, str], None]  # stage, done, total, detail
