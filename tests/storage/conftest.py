"""Storages of every kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.storage.servers import storage_kinds


@pytest.fixture(params=["sqlite", "journal", pytest.param("postgresql", marks=pytest.mark.slow)])  # starts a server
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty storage."""
    kind = request.param
    running = request.getfixturevalue("server") if kind == "postgresql" else None
    return storage_kinds(running)[kind](tmp_path)
