"""Programs of others that some tests run."""

from __future__ import annotations

import shutil

import pytest


def needed(program: str) -> str:
    """Path of a program; the test is skipped where it is not installed."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path
