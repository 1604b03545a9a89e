"""URLs of storages: what they name, and which parts of them are secret.

A URL as people write it may hold a password with characters that ought to be percent-encoded, beside the user's name or
in the query (``?password=``). Where a URL can be read in several ways, more of it is taken for secret.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, unquote_plus

import sqlalchemy
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from codesign.errors import InputError, nearest
from codesign.hidden import MASK

KINDS = ("sqlite", "postgresql", "postgres", "mysql", "mariadb", "oracle", "mssql", "grpc", "journal")
JOURNALS = (".log", ".journal")
_PROXY_PORT = 13000
_QUERY = re.compile(r"\?(?=[\w.-]+=)")
_GRPC = re.compile(r"(\[[\da-fA-F:.]+\]|[^\s:/@?#\[\]]+)(?::(\d{1,5}))?/?")
_SECRET_KEYS = re.compile("pass|pwd|secret|token|key|cert", re.I)
_OPEN_KEYS = frozenset(  # whose values may be shown
    (
        *("host", "hostaddr", "port", "user", "dbname", "sslmode", "connect_timeout", "application_name", "charset"),
        *("timeout", "mode", "cache", "uri", "service", "target_session_attrs", "gssencmode", "channel_binding"),
    )
)


def without_password(url: str) -> str:
    """The URL with everything in it that is secret, or may be, replaced by ***."""
    return _read(url)[0]


def secrets(url: str) -> set[str]:
    """The secret parts of a URL, as written and decoded."""
    words = _read(url)[1]
    return words | {unquote(word) for word in words} | {unquote_plus(word) for word in words}


def _read(url: str) -> tuple[str, set[str]]:
    """(what may be shown, secret parts as written)."""
    scheme, slashes, rest = url.partition("://") if "://" in url else ("", "", url)
    start = f"{scheme}{slashes}"
    found = _QUERY.search(rest)
    place, query = (rest[: found.start()], rest[found.end() :]) if found else (rest, "")
    words: set[str] = set()
    if not place.startswith("/"):  # else a file
        user, colon, _ = place.partition(":")
        if "@" in query and "@" not in place and colon:  # is the query a part of the password?
            secret = rest.partition(":")[2]
            return f"{start}{user}:{MASK}", {secret, *re.split("[@?&=]", secret)} - {""}
        before, at, host = place.rpartition("@")
        user, colon, password = before.partition(":")
        if at and colon and password:
            words.add(password)
            place = f"{user}:{MASK}@{host}"
    pieces = []
    for piece in query.split("&") if query else ():
        key, equals, value = piece.partition("=")
        if equals and key in _OPEN_KEYS:
            pieces.append(piece)
            continue
        known = equals and _SECRET_KEYS.search(key)
        pieces.append(f"{key}={MASK}" if known else MASK)
        words.add(value if known else piece)
    shown = f"?{'&'.join(pieces)}" if pieces else ""
    return f"{start}{place}{shown}", words - {""}


def proxy(url: str) -> tuple[str, int]:
    """(host, port) of a ``grpc://`` URL, an IPv6 address in brackets; raises InputError on another form."""
    match = _GRPC.fullmatch(url.removeprefix("grpc://"))
    if match is None or int(match[2] or 1) not in range(1, 1 << 16):
        raise InputError("expected grpc://HOST:PORT, an IPv6 address in brackets: grpc://[::1]:13000")
    return match[1], int(match[2] or _PROXY_PORT)


def journal(url: str) -> Path | None:
    """The path of a journal file; None if the URL names another kind of storage."""
    if url.startswith("journal:///"):
        return Path(url.removeprefix("journal:///"))
    return Path(url) if "://" not in url and url.endswith(JOURNALS) else None


def database(url: str) -> sqlalchemy.URL:
    """A database's URL, read; raises InputError for other kinds and for what SQLAlchemy would misread."""
    scheme, slashes, rest = url.partition("://")
    if not slashes:
        raise InputError("expected a URL such as sqlite:///FILE or postgresql://USER@HOST/NAME, or a journal FILE.log")
    kind, plus, driver = scheme.partition("+")
    if kind == "postgres":  # as Heroku and others write it; SQLAlchemy knows the long name alone
        kind = "postgresql"
    if kind == "postgresql" and not plus:
        plus, driver = "+", "psycopg"
    found = _QUERY.search(rest)
    if not rest.startswith("/") and rest[: found.start() if found else None].count("@") > 1:
        raise InputError("more than one '@': write %40 for one in the user's name, the password or the database")
    if kind == "sqlite" and any("=" not in piece for piece in rest.partition("?")[2].split("&") if piece):
        raise InputError("what follows '?' is no KEY=VALUE: in a file name write %3F for it")
    try:
        read = sqlalchemy.make_url(f"{kind}{plus}{driver}://{rest}")
        if read.get_dialect().is_async:
            raise InputError(f"'{driver}' is an asynchronous driver: write {kind}:// alone")
    except NoSuchModuleError:
        known = sqlalchemy.dialects.registry.impls.keys() | set(KINDS)
        if plus and kind in known:
            raise InputError(f"unknown driver '{driver}' of {kind}: write {kind}:// alone") from None
        raise InputError(f"unknown kind '{kind}'{nearest(kind, KINDS)}") from None
    except (ArgumentError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("expected KIND://USER:PASSWORD@HOST:PORT/NAME, the port a number") from None
    return read


def file_url(path: Path) -> str:
    """The URL of a SQLite file, whatever characters its path holds; raises InputError if SQLAlchemy cannot say it."""
    url = sqlalchemy.URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)
    if sqlalchemy.make_url(url).database != str(path):  # before 2.1 it did not escape paths
        raise InputError(f"{path}: a path with these characters needs sqlalchemy>=2.1")
    return url
