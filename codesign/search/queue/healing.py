"""Which failures of a storage are worth waiting for: a server that restarts is, a corrupt file is not."""

from __future__ import annotations

import errno
import sqlite3

import optuna
import sqlalchemy.exc as sql

# SQLite's primary result codes
_SQLITE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_SCHEMA,
}
# classes of SQLSTATE: connection, rollback, resources, object in use, operator intervention, system
_CLASSES = ("08", "40", "53", "55", "57", "58")
_LASTING_STATES = ("53100", "57P04")  # of these classes: the disk is full, the database was dropped
_LASTING_ERRNO = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
}
_LASTING_GRPC = {
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "UNIMPLEMENTED",
    "DATA_LOSS",
}
_LASTING_SQL = (sql.ArgumentError, sql.ProgrammingError, sql.DataError, sql.NotSupportedError, sql.CompileError)


def below_optuna(error: BaseException) -> BaseException:
    """The error that Optuna raised its own for."""
    while isinstance(error, optuna.exceptions.StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def heals(error: BaseException) -> bool:
    """Whether a storage that failed with this error may answer later without anybody's help."""
    error = below_optuna(error)
    original = getattr(error, "orig", None)  # the driver's, below that of SQLAlchemy
    cause = original if isinstance(original, BaseException) else error
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", None)
        return isinstance(cause, sqlite3.OperationalError) if code is None else code & 0xFF in _SQLITE
    state = getattr(cause, "sqlstate", None)
    if isinstance(state, str):
        return state.startswith(_CLASSES) and state not in _LASTING_STATES
    if isinstance(cause, OSError):
        return cause.errno not in _LASTING_ERRNO
    if "grpc" in type(cause).__module__ and hasattr(cause, "code"):
        return getattr(cause.code(), "name", "") not in _LASTING_GRPC
    return not isinstance(error, _LASTING_SQL)
