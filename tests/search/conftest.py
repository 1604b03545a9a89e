"""Fixtures of the search."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.search import SPACE


@pytest.fixture
def space_file(tmp_path: Path) -> Path:
    """The small space as a file."""
    file = tmp_path / "tiny.yaml"
    file.write_text(SPACE)
    return file
