"""Where a study is kept: opening Optuna's storages, waiting out their failures, one line for each that stays."""

from __future__ import annotations

import contextlib
import functools
import logging
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.exc import SQLAlchemyError

from codesign.errors import EnvironmentProblem

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

PATIENCE_S = 120.0  # a server that restarts is waited for so long
_FULL = ("disk is full", "no space left", "quota exceeded")  # what waiting does not help

P = ParamSpec("P")
T = TypeVar("T")


def open_storage(url: str) -> BaseStorage:
    """``sqlite:///file``, any other SQLAlchemy URL, ``grpc://host:port`` of a storage proxy, or a path ending in
    .log / .journal for a journal file.

    Raises EnvironmentProblem (without the password) when the storage does not answer or holds something else.
    """
    try:
        with _quiet("optuna.storages"):
            return optuna.storages.get_storage(_opened(url))
    except Exception as error:  # SQLAlchemy, drivers and Optuna raise many kinds; one line of reason is what helps
        raise EnvironmentProblem(f"storage {without_password(url)}: {_reason(error, url)}") from None


def _opened(url: str) -> BaseStorage:
    if url.endswith((".log", ".journal")):
        return JournalStorage(JournalFileBackend(url.removeprefix("journal:///")))
    if url.startswith("grpc://"):
        host, _, port = url.removeprefix("grpc://").partition(":")
        return optuna.storages.GrpcStorageProxy(host=host, port=int(port or 13000))
    if not url.startswith("sqlite"):
        # a worker asks for one thing at a time: one connection, looked at before use, is enough
        return RDBStorage(url, engine_kwargs={"pool_size": 1, "max_overflow": 2, "pool_pre_ping": True})
    storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}})
    _write_ahead(storage.engine)
    return storage


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
    text = str(getattr(error, "orig", None) or error) or type(error).__name__
    password = url.rpartition("@")[0].partition("://")[2].partition(":")[2]
    line = text.strip().splitlines()[0]
    return line.replace(password, "***") if password else line


@contextlib.contextmanager
def _quiet(logger: str) -> Iterator[None]:
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)
