"""A PostgreSQL server of the tests' own, and the three kinds of storage that a study may live in."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

PASSWORD = "s3cret-pass"  # of a server that lives for one test


def postgresql_tools() -> Path | None:
    """The folder of initdb and pg_ctl; None where PostgreSQL is not installed."""
    folders = [Path(p).parent for p in [shutil.which("initdb")] if p]
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((f for f in folders if (f / "initdb").exists() and (f / "pg_ctl").exists()), None)


class PostgreSQL:
    """A server with one user and one database, on a free port of this machine.

    durable: commits are forced to the disk; tests kill the server and not the machine, and do without.
    """

    def __init__(self, tools: Path, folder: Path, *, durable: bool = False) -> None:
        self._tools, self._data = tools, folder / "data"
        self._user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name  # it refuses to be root
        with contextlib.closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        if os.getuid() == 0:
            shutil.chown(folder, self._user)
        secret = folder / "secret"
        secret.write_text(PASSWORD)
        self._run("initdb", "--auth=scram-sha-256", "--username=tests", f"--pwfile={secret}", "--no-sync")
        settings = f"port = {self.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n"
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(settings + f"fsync = {'on' if durable else 'off'}\n")
        self.start()
        self._databases = 0

    def _run(self, tool: str, *options: str) -> None:
        command = [str(self._tools / tool), "-D", str(self._data), *options]
        subprocess.run(
            command,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self._user if os.getuid() == 0 else None,
            cwd="/",
        )

    def start(self) -> None:
        self._run("pg_ctl", "--wait", "--log=" + str(self._data / "log"), "start")

    def stop(self) -> None:
        """As when the power fails: nobody is told."""
        self._run("pg_ctl", "--wait", "--mode=immediate", "stop")

    def database(self) -> str:
        """URL of a new database."""
        import psycopg
        from psycopg import sql

        self._databases += 1
        name = f"study{self._databases}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    def url(self, database: str, password: str = PASSWORD) -> str:
        return f"postgresql://tests:{password}@127.0.0.1:{self.port}/{database}"


@contextlib.contextmanager
def postgresql() -> Iterator[PostgreSQL | None]:
    """A running server, None where there is no PostgreSQL."""
    tools = postgresql_tools()
    if tools is None:
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="codesign-postgresql-"))
    folder.chmod(0o755)
    server = PostgreSQL(tools, folder)
    try:
        yield server
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def storage_kinds(server: PostgreSQL | None) -> dict[str, Callable[[Path], str]]:
    """Kind -> URL of a new storage, of those that can be had here."""
    kinds: dict[str, Callable[[Path], str]] = {
        "sqlite": lambda folder: f"sqlite:///{folder / 'study.db'}",
        "journal": lambda folder: str(folder / "study.journal"),
    }
    return kinds | ({"postgresql": lambda _: server.database()} if server else {})
