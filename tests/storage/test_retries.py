"""A storage that fails is tried again for two minutes; what a storage is opened with; what is said of failures."""

from __future__ import annotations

import logging
import sqlite3
import warnings
from pathlib import Path
from typing import Any, cast

import optuna
import pytest
import sqlalchemy

from codesign.errors import EnvironmentProblem, InputError
from codesign.search.queue import storage as storages
from codesign.search.queue.storage import default_storage, open_storage, patient, quiet, settle


class Clock:
    """Time that passes only in pauses."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pauses: list[float] = []
        monkeypatch.setattr(storages.time, "sleep", self.pauses.append)
        monkeypatch.setattr(storages.time, "monotonic", lambda: 1000.0 + sum(self.pauses))


class Failing:
    """An operation that fails some times, then answers."""

    def __init__(self, error: Exception, times: int = 10**6) -> None:
        self.calls = 0
        self._error, self._times = error, times

    def __call__(self, answer: str, *, end: str = "") -> str:
        self.calls += 1
        if self.calls <= self._times:
            raise self._error
        return answer + end


def test_pauses_double_up_to_five_seconds_and_end_after_two_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, failing = Clock(monkeypatch), Failing(sqlite3.OperationalError("database is locked"))
    with pytest.raises(EnvironmentProblem, match=r"^the study's storage failed: database is locked$"):
        patient(failing.__call__)("done")
    assert clock.pauses[:8] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])
    assert sum(clock.pauses[:-1]) <= 120 < sum(clock.pauses) <= 125
    assert failing.calls == len(clock.pauses) + 1


def test_an_operation_that_is_tried_again_keeps_its_name() -> None:
    assert (patient(settle).__name__, patient(settle).__doc__) == ("settle", settle.__doc__)


def as_grpc() -> Exception:
    return type("RpcError", (Exception,), {"__module__": "grpc._channel"})("unavailable")


@pytest.mark.parametrize(
    "error",
    [
        sqlite3.OperationalError("database is locked"),
        sqlalchemy.exc.OperationalError("SELECT 1", {}, Exception("closed")),
        optuna.exceptions.StorageInternalError("during the commit"),
        ConnectionResetError("reset"),
        as_grpc(),
    ],
    ids=lambda error: type(error).__module__ + "." + type(error).__name__,
)
def test_every_kind_of_storage_is_waited_for(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    clock, failing = Clock(monkeypatch), Failing(error, times=2)
    assert patient(failing.__call__)("do", end="ne") == "done"
    assert (failing.calls, clock.pauses) == (3, [0.1, 0.2])


@pytest.mark.parametrize("error", [InputError("a mistake"), EnvironmentProblem("the disk is full"), KeyError("x")])
def test_what_is_not_a_storage_s_failure_is_passed_on(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    clock, failing = Clock(monkeypatch), Failing(error)
    with pytest.raises(type(error)) as raised:
        patient(failing.__call__)("done")
    assert raised.value is error
    assert (failing.calls, clock.pauses) == (1, [])


@pytest.mark.parametrize("why", ["database or disk is full", "No space left on device", "Disk quota exceeded"])
def test_a_full_disk_is_not_waited_for_whoever_says_so(monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    clock, failing = Clock(monkeypatch), Failing(sqlalchemy.exc.OperationalError("INSERT", {}, Exception(why)))
    with pytest.raises(EnvironmentProblem, match=why):
        patient(failing.__call__)("done")
    assert (failing.calls, clock.pauses) == (1, [])


def test_what_is_said_is_the_first_line_of_the_driver() -> None:
    driver = Exception("  server closed the connection\nprobably because it ended")
    assert storages._reason(sqlalchemy.exc.OperationalError("SELECT 1", {}, driver)) == "server closed the connection"
    assert storages._reason(ValueError()) == "ValueError"
    assert storages._reason(ModuleNotFoundError("No module named 'x'", name="x")) == "No module named 'x'"
    assert "pip install 'codesign[grpc]'" in storages._reason(ModuleNotFoundError("none", name="grpc"))


def test_a_sqlite_file_is_written_ahead_and_waits_for_its_lock(tmp_path: Path) -> None:
    url = default_storage(tmp_path)
    assert url == f"sqlite:///{tmp_path.resolve()}/study.db"
    storage = cast("Any", open_storage(url))
    with storage._backend.engine.connect() as connection:
        read = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "busy_timeout")
        }
    assert read == {"journal_mode": "wal", "synchronous": 1, "busy_timeout": 60_000}  # 1: NORMAL


def test_a_settled_sqlite_file_is_complete(tmp_path: Path) -> None:
    storage = open_storage(default_storage(tmp_path))
    optuna.create_study(study_name="s", storage=storage)
    log = tmp_path / "study.db-wal"
    assert log.stat().st_size
    settle(storage)
    assert not log.exists() or not log.stat().st_size
    settle(optuna.storages.InMemoryStorage())
    assert optuna.load_study(study_name="s", storage=storage).trials == []


@pytest.mark.parametrize(("query", "connect_args"), [("", {"connect_timeout": 10}), ("?connect_timeout=3", None)])
def test_a_server_is_asked_by_one_connection_that_is_checked(
    monkeypatch: pytest.MonkeyPatch, query: str, connect_args: dict[str, int] | None
) -> None:
    opened: list[Any] = []
    monkeypatch.setattr(storages, "_refuse_foreign_database", lambda *_: None)
    monkeypatch.setattr(storages, "RDBStorage", lambda url, engine_kwargs: opened.append((url, engine_kwargs)))
    storages._opened(f"postgresql://tests@127.0.0.1/study{query}")
    ((url, settings),) = opened
    assert url == f"postgresql+psycopg://tests@127.0.0.1/study{query}"
    assert settings.pop("connect_args", None) == connect_args
    assert settings == {"pool_size": 1, "max_overflow": 2, "pool_pre_ping": True}


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("sqlite://", True),
        ("sqlite:///", True),
        ("sqlite:///:memory:", True),
        ("sqlite+pysqlite:///file:x?mode=memory&uri=true", True),
        ("sqlite:///study.db", False),
        ("sqlite:////", False),
        ("postgresql://", False),
        ("postgresql:///:memory:", False),
    ],
)
def test_which_databases_are_in_memory(url: str, found: bool) -> None:
    assert storages._in_memory(url) is found


def test_an_empty_file_becomes_a_journal(tmp_path: Path) -> None:
    file = tmp_path / "study.log"
    file.touch()
    optuna.create_study(study_name="s", storage=open_storage(str(file)))
    assert optuna.load_study(study_name="s", storage=open_storage(str(file))).trials == []


def test_an_empty_database_becomes_a_study_s(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "study.db").close()
    optuna.create_study(study_name="s", storage=open_storage(default_storage(tmp_path)))


def test_looking_for_a_database_makes_none(tmp_path: Path) -> None:
    storages._refuse_foreign_database(sqlalchemy.make_url(default_storage(tmp_path)), {})
    assert list(tmp_path.iterdir()) == []


def test_of_a_foreign_database_three_tables_are_named(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "study.db") as connection:
        for name in "dbca":
            connection.execute(f"CREATE TABLE {name} (x)")
    connection.close()
    with pytest.raises(EnvironmentProblem, match=r"holds something else \(tables a, b, c\); nothing was changed"):
        open_storage(default_storage(tmp_path))


def test_log_messages_are_limited_within_and_as_before_afterwards() -> None:
    log = logging.getLogger("tests.quiet")
    log.setLevel(logging.DEBUG)

    def failing() -> None:
        with quiet("tests.quiet", logging.ERROR):
            assert log.level == logging.ERROR
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    assert log.level == logging.DEBUG


def test_only_experimental_warnings_are_silent() -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with quiet():
            warnings.warn("new", optuna.exceptions.ExperimentalWarning, stacklevel=1)
            warnings.warn("old", DeprecationWarning, stacklevel=1)
        warnings.warn("new again", optuna.exceptions.ExperimentalWarning, stacklevel=1)
    assert [str(each.message) for each in said] == ["old", "new again"]
