"""Storages of every kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storage.servers import PostgreSQL, postgresql, storage_kinds


@pytest.fixture(scope="session")
def server() -> Iterator[PostgreSQL]:
    with postgresql() as found:
        if found is None:
            pytest.skip("PostgreSQL is not installed (initdb and pg_ctl)")
        yield found


@pytest.fixture(params=["sqlite", "journal", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty storage."""
    kind = request.param
    running = request.getfixturevalue("server") if kind == "postgresql" else None
    return storage_kinds(running)[kind](tmp_path)
