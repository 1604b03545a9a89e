"""Which failures of a storage are waited for: those that may end without anybody's help."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy.exc as sql

from codesign.search.queue.healing import below_optuna, heals


def wrapped(error: BaseException, times: int = 1) -> BaseException:
    """The error as Optuna raises it."""
    for _ in range(times):
        around = optuna.exceptions.StorageInternalError("during the commit")
        around.__cause__ = error
        error = around
    return error


def as_sqlite(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("it failed")
    error.sqlite_errorcode = code
    return error


def as_grpc(name: str) -> Exception:
    """An error of grpc, which the test does without."""
    kind = type("RpcError", (Exception,), {"__module__": "grpc._channel"})
    code = type("StatusCode", (), {"name": name})
    error: Any = kind("it failed")
    error.code = lambda: code
    return error  # type: ignore[no-any-return]  # its type is made here


def test_the_error_that_counts_is_the_one_below_those_of_optuna() -> None:
    driver = ValueError("the driver's")
    assert below_optuna(driver) is driver
    assert below_optuna(wrapped(driver, 2)) is driver
    bare = optuna.exceptions.StorageInternalError("of nothing")
    assert below_optuna(bare) is bare


def test_the_cause_of_any_other_error_is_not_looked_at() -> None:
    full = OSError(errno.ENOSPC, "no space left")
    full.__cause__ = TimeoutError()
    assert not heals(full)


def test_a_locked_database_is_waited_for(tmp_path: Path) -> None:
    first, second = (sqlite3.connect(tmp_path / "study.db", timeout=0) for _ in range(2))
    first.execute("CREATE TABLE t (x)")
    first.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError) as locked:
        second.execute("BEGIN IMMEDIATE")
    assert heals(locked.value)
    assert heals(wrapped(locked.value))
    first.close()
    second.close()


@pytest.mark.parametrize(
    ("code", "waits"),
    [
        (sqlite3.SQLITE_BUSY, True),
        (sqlite3.SQLITE_BUSY_RECOVERY, True),  # an extended code: the primary one in its low byte
        (sqlite3.SQLITE_BUSY_SNAPSHOT, True),
        (sqlite3.SQLITE_LOCKED_SHAREDCACHE, True),
        (sqlite3.SQLITE_IOERR_READ, True),
        (sqlite3.SQLITE_IOERR_CONVPATH, True),
        (sqlite3.SQLITE_CORRUPT, False),
        (sqlite3.SQLITE_CORRUPT_VTAB, False),
        (sqlite3.SQLITE_READONLY_DBMOVED, False),
        (sqlite3.SQLITE_CANTOPEN_ISDIR, False),
        (sqlite3.SQLITE_FULL, False),
        (sqlite3.SQLITE_NOTADB, False),
    ],
)
def test_sqlite_is_waited_for_where_its_primary_code_heals(code: int, waits: bool) -> None:
    assert heals(as_sqlite(code)) is waits


def test_without_a_code_sqlite_is_waited_for_where_it_failed_in_operation() -> None:
    assert heals(sqlite3.OperationalError("database is locked"))
    assert not heals(sqlite3.ProgrammingError("cannot operate on a closed database"))


@pytest.mark.parametrize(
    ("error", "waits"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), True),
        (OSError(errno.EIO, "input/output error"), True),
        (OSError(errno.ENOSPC, "no space left"), False),
        (PermissionError(errno.EACCES, "denied"), False),
        (FileNotFoundError(errno.ENOENT, "no such file"), False),
        (as_grpc("UNAVAILABLE"), True),
        (as_grpc("DEADLINE_EXCEEDED"), True),
        (as_grpc("UNAUTHENTICATED"), False),
        (as_grpc("NOT_FOUND"), False),
        (sql.OperationalError("SELECT 1", {}, Exception("server closed the connection")), True),
        (sql.TimeoutError("no connection is free"), True),
        (sql.ProgrammingError("SELECT 1", {}, Exception("no such table")), False),
        (sql.DataError("SELECT 1", {}, Exception("too long")), False),
        (sql.ArgumentError("it is no statement"), False),
    ],
    ids=str,
)
def test_other_errors_are_waited_for_unless_they_last(error: Exception, waits: bool) -> None:
    assert heals(error) is heals(wrapped(error)) is waits


def test_an_error_of_grpc_without_a_code_is_waited_for() -> None:
    assert heals(type("RpcError", (Exception,), {"__module__": "grpc"})("it failed"))
