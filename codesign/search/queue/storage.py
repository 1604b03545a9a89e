"""Where a study is kept: opening Optuna's storages, waiting out their failures, one line for each that stays."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.exc import SQLAlchemyError

from codesign.errors import EnvironmentProblem

PATIENCE_S = 120.0  # a server that restarts is waited for so long
_ANSWER_S = 10.0  # a server that does not answer within is not there
_EXTRAS = {"psycopg": "postgresql", "grpc": "grpc"}  # module -> what of codesign brings it
_FULL = ("disk is full", "no space left", "quota exceeded")  # what waiting does not help

P = ParamSpec("P")
T = TypeVar("T")


def open_storage(url: str) -> BaseStorage:
    """``sqlite:///file``, any other SQLAlchemy URL, ``grpc://host:port`` of a storage proxy, or a path ending in
    .log / .journal for a journal file.

    Raises EnvironmentProblem (without the password) when the storage does not answer or holds something else.
    """
    try:
        with quiet("optuna.storages", logging.CRITICAL):
            return optuna.storages.get_storage(_opened(url))
    except Exception as error:  # SQLAlchemy, drivers and Optuna raise many kinds; one line of reason is what helps
        raise EnvironmentProblem(f"storage {without_password(url)}: {_reason(error, url)}") from None


def _opened(url: str) -> BaseStorage:
    if url.endswith((".log", ".journal")):
        path = url.removeprefix("journal:///")
        _refuse_foreign_journal(Path(path))
        return JournalStorage(JournalFileBackend(path))
    if url.startswith("grpc://"):
        host, _, port = url.removeprefix("grpc://").partition(":")
        return _proxy(host, int(port or 13000))
    sqlite = url.startswith("sqlite")
    # a worker asks for one thing at a time: one connection, looked at before use, is enough
    settings: dict[str, Any] = {"pool_size": 1, "max_overflow": 2, "pool_pre_ping": True}
    if sqlite:
        settings = {"connect_args": {"timeout": 60}}
    elif url.startswith(("postgresql://", "postgres://")):
        url = "postgresql+psycopg://" + url.partition("://")[2]
        settings["connect_args"] = {"connect_timeout": int(_ANSWER_S)}
    _refuse_foreign_database(url, settings)
    storage = RDBStorage(url, engine_kwargs=settings)
    if sqlite:
        _write_ahead(storage.engine)
    return storage


def _proxy(host: str, port: int) -> BaseStorage:
    """A gRPC storage that answered once: Optuna's waits forever for one that is not there."""
    import grpc

    with grpc.insecure_channel(f"{host}:{port}") as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_ANSWER_S)
        except grpc.FutureTimeoutError:
            raise ConnectionError(f"no answer from {host}:{port} within {_ANSWER_S:g} s") from None
    return optuna.storages.GrpcStorageProxy(host=host, port=port)


def _refuse_foreign_journal(path: Path) -> None:
    """Optuna would add its lines to any file."""
    if not path.exists() or not path.stat().st_size:
        return
    with path.open("rb") as file:
        line = file.readline()
    try:
        known = "op_code" in json.loads(line)
    except (ValueError, TypeError):
        known = False
    if not known:
        raise ValueError("the file is not a journal of Optuna; nothing was changed")


def _refuse_foreign_database(url: str, settings: Mapping[str, Any]) -> None:
    """Optuna would add its tables to any database."""
    file = sqlalchemy.make_url(url).database if url.startswith("sqlite") else None
    if file and not Path(file).exists():
        return  # looking would make it
    engine = sqlalchemy.create_engine(url, **settings)
    try:
        tables = sqlalchemy.inspect(engine).get_table_names()
    finally:
        engine.dispose()
    if tables and "studies" not in tables:
        some = ", ".join(sorted(tables)[:3])
        raise ValueError(f"the database holds something else (tables {some}); nothing was changed")


def _write_ahead(engine: sqlalchemy.Engine) -> None:
    """Readers and a writer at the same time, and commits that survive the death of any process."""

    def settings(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    sqlalchemy.event.listen(engine, "connect", settings)
    engine.dispose()  # what was opened without


def default_storage(folder: Path) -> str:
    """SQLite in the study's own folder."""
    return f"sqlite:///{(folder / 'study.db').resolve()}"


def without_password(url: str) -> str:
    """The URL with its password replaced by ***."""
    head, at, tail = url.rpartition("@")
    scheme, slashes, user = head.partition("://")
    return f"{scheme}{slashes}{user.split(':', 1)[0]}:***@{tail}" if at and ":" in user else url


def patient(function: Callable[P, T]) -> Callable[P, T]:
    """Call again while the storage is away; raises EnvironmentProblem where it stays away, or its disk is full.

    The function must do no harm when what it did once is done again: an answer may be lost after the deed.
    """

    @functools.wraps(function)
    def again(*args: P.args, **kwargs: P.kwargs) -> T:
        end, pause = time.monotonic() + PATIENCE_S, 0.1
        while True:
            try:
                return function(*args, **kwargs)
            except Exception as error:
                if not _is_storage_problem(error):
                    raise
                reason = _reason(error)
                if time.monotonic() > end or any(word in reason.lower() for word in _FULL):
                    raise EnvironmentProblem(f"the study's storage failed: {reason}") from None
            time.sleep(pause)
            pause = min(2 * pause, 5.0)

    return again


def _is_storage_problem(error: Exception) -> bool:
    """Whether it came from a storage rather than from us; gRPC is known by name, as it may not be installed."""
    kinds = (SQLAlchemyError, sqlite3.Error, optuna.exceptions.StorageInternalError)
    ours = isinstance(error, EnvironmentProblem)
    return isinstance(error, kinds) or (isinstance(error, OSError) and not ours) or "grpc" in type(error).__module__


def _reason(error: BaseException, url: str = "") -> str:
    """The first line of what really happened, with no password in it."""
    while isinstance(error, optuna.exceptions.StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, ModuleNotFoundError) and error.name in _EXTRAS:
        return f"{error.name} is not installed (pip install 'codesign[{_EXTRAS[error.name]}]')"
    text = str(getattr(error, "orig", None) or error) or type(error).__name__
    password = url.rpartition("@")[0].partition("://")[2].partition(":")[2]
    line = text.strip().splitlines()[0]
    return line.replace(password, "***") if password else line


@contextlib.contextmanager
def quiet(logger: str = "optuna", level: int = logging.WARNING) -> Iterator[None]:
    """Within the context Optuna says no more than this, and not that we use what it calls experimental."""
    log = logging.getLogger(logger)
    before = log.level
    log.setLevel(level)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        log.setLevel(before)
