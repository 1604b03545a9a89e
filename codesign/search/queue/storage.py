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

from codesign.errors import EnvironmentProblem, InputError
from codesign.hidden import hidden, hide
from codesign.search.queue.addresses import database, file_url, journal, proxy, secrets, without_password
from codesign.search.queue.healing import below_optuna, heals
from codesign.signals import held

__all__ = ["PATIENCE_S", "default_storage", "open_storage", "patient", "quiet", "without_password"]

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
        InputError: the URL is of an unknown kind, or none, or a database in memory.
        EnvironmentProblem: the storage does not answer, or holds something else.
        No text contains a password, here or later in this process.
    """
    hide(secrets(url))
    if _in_memory(url):
        raise InputError(f"storage {url}: a database in memory ends with this process; give a file: sqlite:///study.db")
    try:
        with quiet("optuna.storages", logging.CRITICAL):
            return optuna.storages.get_storage(_opened(url))
    except InputError as error:
        raise InputError(f"storage {without_password(url)}: {hidden(str(error))}") from None
    except Exception as error:  # SQLAlchemy, drivers and Optuna raise many types
        raise EnvironmentProblem(f"storage {without_password(url)}: {_reason(error)}") from None


def _opened(url: str) -> BaseStorage:
    path = journal(url)
    if path is not None:
        _refuse_foreign_journal(path)
        return JournalStorage(JournalFileBackend(str(path)))
    if url.startswith("grpc://"):
        return _proxy(*proxy(url))
    read = database(url)
    kind = read.get_backend_name()
    # a worker sends one query at a time: one connection, checked before use, is enough
    settings: dict[str, Any] = {"pool_size": 1, "max_overflow": 2, "pool_pre_ping": True}
    if kind == "sqlite":
        settings = {"connect_args": {"timeout": 60}}
    elif kind == "postgresql" and "connect_timeout" not in read.query:
        settings["connect_args"] = {"connect_timeout": int(_ANSWER_S)}
    _refuse_foreign_database(read, settings)
    text = read.render_as_string(hide_password=False)
    if "{SCHEMA_VERSION}" not in text:  # the only field of the template that Optuna takes it for
        text = text.replace("{", "{{").replace("}", "}}")
    storage = RDBStorage(text, engine_kwargs=settings)
    if kind == "sqlite":
        _write_ahead(storage.engine)
    return storage


def _in_memory(url: str) -> bool:
    scheme, _, rest = url.partition("://")
    return scheme.startswith("sqlite") and (rest in ("", "/") or ":memory:" in rest or "mode=memory" in rest)


def settle(storage: BaseStorage) -> None:
    """Write what stands in SQLite's write-ahead log into the database, so that its one file is complete."""
    backend = getattr(storage, "_backend", storage)  # of Optuna's cache
    if isinstance(backend, RDBStorage) and backend.engine.dialect.name == "sqlite":
        with contextlib.suppress(SQLAlchemyError), backend.engine.connect() as connection:  # the log is as good
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        backend.engine.dispose()


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


def _refuse_foreign_database(url: sqlalchemy.URL, settings: Mapping[str, Any]) -> None:
    """Raise ValueError if the database holds other tables: Optuna would add its own to any database."""
    file = url.database if url.get_backend_name() == "sqlite" else None
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
    return file_url((folder / "study.db").resolve())


def patient(function: Callable[P, T]) -> Callable[P, T]:
    """A decorator that retries a storage operation for up to PATIENCE_S, with exponential backoff.

    Signals wait until a try has ended: a transaction that one cuts short may keep the database locked.

    Raises EnvironmentProblem if the storage keeps failing, or at once where waiting is of no use (`heals`). The
    function must be idempotent, as an operation may succeed and its answer be lost.
    """

    @functools.wraps(function)
    def again(*args: P.args, **kwargs: P.kwargs) -> T:
        end, pause = time.monotonic() + PATIENCE_S, 0.1
        while True:
            try:
                with held():
                    return function(*args, **kwargs)
            except Exception as error:
                if not _is_storage_problem(error):
                    raise
                reason = _reason(error)
                if time.monotonic() > end or not heals(error) or any(word in reason.lower() for word in _FULL):
                    raise EnvironmentProblem(f"the study's storage failed: {reason}") from None
            time.sleep(pause)
            pause = min(2 * pause, 5.0)

    return again


def _is_storage_problem(error: Exception) -> bool:
    """Whether the error comes from a storage; gRPC's is recognised by name, as the package may not be installed."""
    kinds = (SQLAlchemyError, sqlite3.Error, optuna.exceptions.StorageInternalError)
    ours = isinstance(error, EnvironmentProblem)
    return isinstance(error, kinds) or (isinstance(error, OSError) and not ours) or "grpc" in type(error).__module__


def _reason(error: BaseException) -> str:
    """The first line of the underlying error, with passwords masked."""
    error = below_optuna(error)
    if isinstance(error, ModuleNotFoundError) and error.name in _EXTRAS:
        return f"{error.name} is not installed (pip install 'codesign[{_EXTRAS[error.name]}]')"
    text = str(getattr(error, "orig", None) or error) or type(error).__name__
    return hidden(text.strip().splitlines()[0])


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
