"""Optuna storages: opening them, retrying while they fail, and one-line errors for failures that persist."""

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

PATIENCE_S = 120.0  # how long a failing storage is retried, for example while its server restarts
_ANSWER_S = 10.0  # timeout of the first connection to a server
_EXTRAS = {"psycopg": "postgresql", "grpc": "grpc"}  # module -> the extra of codesign that installs it
_FULL = ("disk is full", "no space left", "quota exceeded")  # errors that are not retried

P = ParamSpec("P")
T = TypeVar("T")


def open_storage(url: str) -> BaseStorage:
    """Open the Optuna storage at `url`.

    Args:
        url: ``sqlite:///file``, any other SQLAlchemy URL, ``grpc://host:port`` of a storage proxy, or a path that ends
            in .log or .journal for a journal file.
    Raises:
        EnvironmentProblem: the storage does not answer, or holds something else. The text contains no password.
    """
    try:
        with quiet("optuna.storages", logging.CRITICAL):
            return optuna.storages.get_storage(_opened(url))
    except Exception as error:  # SQLAlchemy, drivers and Optuna raise many types
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
    # a worker sends one query at a time: one connection, checked before use, is enough
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
    """A gRPC storage proxy that has answered once: Optuna's own waits forever for a server that is not there."""
    import grpc

    with grpc.insecure_channel(f"{host}:{port}") as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_ANSWER_S)
        except grpc.FutureTimeoutError:
            raise ConnectionError(f"no answer from {host}:{port} within {_ANSWER_S:g} s") from None
    return optuna.storages.GrpcStorageProxy(host=host, port=port)


def _refuse_foreign_journal(path: Path) -> None:
    """Raise ValueError unless the file is an Optuna journal: Optuna would append to any file."""
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
    """Raise ValueError if the database holds other tables: Optuna would add its own to any database."""
    file = sqlalchemy.make_url(url).database if url.startswith("sqlite") else None
    if file and not Path(file).exists():
        return  # connecting would create it
    engine = sqlalchemy.create_engine(url, **settings)
    try:
        tables = sqlalchemy.inspect(engine).get_table_names()
    finally:
        engine.dispose()
    if tables and "studies" not in tables:
        some = ", ".join(sorted(tables)[:3])
        raise ValueError(f"the database holds something else (tables {some}); nothing was changed")


def _write_ahead(engine: sqlalchemy.Engine) -> None:
    """Set SQLite's write-ahead log: readers do not block the writer, and commits survive a crash of any process."""

    def settings(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    sqlalchemy.event.listen(engine, "connect", settings)
    engine.dispose()  # connections without these settings


def default_storage(folder: Path) -> str:
    """The URL of the SQLite file in the study's own folder."""
    return f"sqlite:///{(folder / 'study.db').resolve()}"


def without_password(url: str) -> str:
    """The URL with its password replaced by ***."""
    head, at, tail = url.rpartition("@")
    scheme, slashes, user = head.partition("://")
    return f"{scheme}{slashes}{user.split(':', 1)[0]}:***@{tail}" if at and ":" in user else url


def patient(function: Callable[P, T]) -> Callable[P, T]:
    """A decorator that retries a storage operation for up to PATIENCE_S, with exponential backoff.

    Raises EnvironmentProblem if the storage keeps failing or its disk is full. The function must be idempotent, as an
    operation may succeed and its answer be lost.
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
    """Whether the error comes from a storage; gRPC's is recognised by name, as the package may not be installed."""
    kinds = (SQLAlchemyError, sqlite3.Error, optuna.exceptions.StorageInternalError)
    ours = isinstance(error, EnvironmentProblem)
    return isinstance(error, kinds) or (isinstance(error, OSError) and not ours) or "grpc" in type(error).__module__


def _reason(error: BaseException, url: str = "") -> str:
    """The first line of the underlying error, with the password masked."""
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
    """Limit Optuna's log messages to `level`, and silence its ExperimentalWarning."""
    log = logging.getLogger(logger)
    before = log.level
    log.setLevel(level)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        log.setLevel(before)
