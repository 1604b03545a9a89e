"""Where the operations of a study are counted: a PostgreSQL of one's own, a storage proxy before it, a relay between.

The server counts statements by role (pg_stat_statements), the relay counts bytes, the system counts processor time.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

sys.path.insert(0, str(Path(__file__).parents[3]))
from tests.storage.servers import PASSWORD, PostgreSQL, postgresql_tools

ROOT = Path(__file__).parents[3]
PROXY = ROOT / "examples" / "cluster" / "storage_proxy.py"
LEADER, WORKER = "leader", "worker"  # the roles of a coordinator, and of workers or of a proxy
_CONNECTIONS = 400
_TICKS = os.sysconf("SC_CLK_TCK")
_FORK = multiprocessing.get_context("fork")
_BY_ROLE = """
    SELECT coalesce(sum(calls) FILTER (WHERE query !~* '^(BEGIN|COMMIT|ROLLBACK)'), 0)::float,
        coalesce(sum(calls) FILTER (WHERE query ~* '^(COMMIT|ROLLBACK)'), 0)::float,
        coalesce(sum(rows), 0)::float
    FROM pg_stat_statements JOIN pg_roles ON pg_roles.oid = userid WHERE rolname = ANY(%s)"""
_WAL = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float"


@dataclass(frozen=True)
class Count:
    """What was counted between two moments, or at one since the beginning."""

    statements: float = 0.0
    transactions: float = 0.0
    rows: float = 0.0
    wal_bytes: float = 0.0
    wire_bytes: float = 0.0  # between client and server or proxy, both ways
    server_s: float = 0.0  # processor time of PostgreSQL
    proxy_s: float = 0.0
    client_s: float = 0.0
    wall_s: float = 0.0

    def __sub__(self, other: Count) -> Count:
        return self._with(other, lambda a, b: a - b)

    def __add__(self, other: Count) -> Count:
        return self._with(other, lambda a, b: a + b)

    def __mul__(self, factor: float) -> Count:
        return Count(**{k: factor * v for k, v in dataclasses.asdict(self).items()})

    def _with(self, other: Count, do: Callable[[float, float], float]) -> Count:
        mine, theirs = dataclasses.asdict(self), dataclasses.asdict(other)
        return Count(**{k: do(mine[k], theirs[k]) for k in mine})


class Place:
    """A server that counts; `proxy` begins a storage proxy before it."""

    def __init__(self, folder: Path) -> None:
        tools = postgresql_tools()
        if tools is None:
            raise SystemExit("PostgreSQL is not installed (initdb and pg_ctl)")
        folder.chmod(0o755)
        self._server, self._data = PostgreSQL(tools, folder, durable=True), folder / "data"
        with (self._data / "postgresql.conf").open("a") as file:
            file.write("shared_preload_libraries = 'pg_stat_statements'\npg_stat_statements.max = 10000\n")
            file.write(f"max_connections = {_CONNECTIONS}\n")
        self._server.stop()
        self._server.start()
        self.version = ""
        with self.connect() as found:
            found.execute("CREATE EXTENSION pg_stat_statements")
            for role in (LEADER, WORKER):
                found.execute(f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD '{PASSWORD}'")
            self.version = found.execute("SHOW server_version").fetchone()[0].split()[0]
        self._relay = Relay(self._server.port)
        self._processes: list[subprocess.Popen[bytes]] = []

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        self._relay.close()
        self._server.stop()

    def database(self) -> str:
        """The name of a new database."""
        return self._server.database().rpartition("/")[2]

    def url(self, database: str, role: str = WORKER, *, counted: bool = True) -> str:
        """counted: by way of the relay, which costs a little."""
        port = self._relay.port if counted else self._server.port
        return f"postgresql://{role}:{PASSWORD}@127.0.0.1:{port}/{database}"

    def proxy(self, database: str) -> Proxy:
        """A storage proxy that lives until the place is closed."""
        found = Proxy(self.url(database, counted=False))
        self._processes.append(found.process)
        return found

    def processor_s(self, *, without: int = 0) -> float:
        """Processor time of the server's processes, the ended ones too, and not of the one called `without`."""
        (main, *_), seconds = (self._data / "postmaster.pid").read_text().split(), 0.0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                if stat.parent.name == main:
                    seconds += sum(map(int, fields[11:15])) / _TICKS
                elif fields[1] == main and int(stat.parent.name) != without:
                    seconds += _run_s(stat.parent)
        return seconds

    def connect(self) -> Any:
        """A connection that counts for no role."""
        return psycopg.connect(self._server.url("postgres"), autocommit=True)

    def relayed(self) -> float:
        return self._relay.bytes()


class Meter:
    """Reads all counters of a place, in the process of a client whose own time counts as well."""

    def __init__(self, place: Place, *roles: str, proxy: Proxy | None = None) -> None:
        self._place, self._roles, self._proxy = place, list(roles or (LEADER, WORKER)), proxy
        self._connection = place.connect()
        self._pid = self._connection.info.backend_pid

    def now(self) -> Count:
        statements, transactions, rows = self._connection.execute(_BY_ROLE, [self._roles]).fetchone()
        (wal,) = self._connection.execute(_WAL).fetchone()
        return Count(
            statements,
            transactions,
            rows,
            wal,
            self._proxy.relayed() if self._proxy else self._place.relayed(),
            self._place.processor_s(without=self._pid),
            self._proxy.processor_s() if self._proxy else 0.0,
            time.process_time(),
            time.perf_counter(),
        )

    def of(self, do: Callable[[], object], times: int) -> Count:
        """What one of so many costs."""
        before = self.now()
        do()
        return (self.now() - before) * (1 / times)


class Proxy:
    """examples/cluster/storage_proxy.py as a process."""

    def __init__(self, database: str) -> None:
        self.port = free_port()
        command = [sys.executable, str(PROXY), "--host", "127.0.0.1", "--port", str(self.port)]
        environment = os.environ | {"CODESIGN_STORAGE": database, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        self._relay = Relay(self.port)

    def url(self, *, counted: bool = True) -> str:
        return f"grpc://127.0.0.1:{self._relay.port if counted else self.port}"

    def relayed(self) -> float:
        return self._relay.bytes()

    def processor_s(self) -> float:
        return sum(_run_s(task) for task in Path(f"/proc/{self.process.pid}/task").iterdir())


class Relay:
    """A process that hands bytes on to a port of this machine, and counts them."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._bytes = _FORK.Value("d", 0.0)
        self._process = _FORK.Process(target=self._run, args=(target,), daemon=True)
        self._process.start()
        wait_for_port(self.port)

    def _run(self, target: int) -> None:
        async def hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await reader.read(1 << 16):
                    self._bytes.value += len(data)
                    writer.write(data)
                    await writer.drain()
            writer.close()

        async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                there = await asyncio.open_connection("127.0.0.1", target)
            except OSError:
                writer.close()
                return
            await asyncio.gather(hand_on(reader, there[1]), hand_on(there[0], writer))

        async def serve() -> None:
            server = await asyncio.start_server(met, "127.0.0.1", self.port, backlog=_CONNECTIONS)
            await server.serve_forever()

        asyncio.run(serve())

    def bytes(self) -> float:
        return float(self._bytes.value)

    def close(self) -> None:
        self._process.kill()
        self._process.join()


@contextlib.contextmanager
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory() as folder:
        found = Place(Path(folder))
        try:
            yield found
        finally:
            found.close()


def _run_s(process: Path) -> float:
    """Processor time of a thread, to the nanosecond."""
    return int((process / "schedstat").read_text().split()[0]) / 1e9


def free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens at port {port}")


def in_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns, from a process of its own: a client that shares nothing with this one."""
    mine, its = _FORK.Pipe(duplex=False)

    def run() -> None:
        its.send(function(*arguments))

    process = _FORK.Process(target=run)
    process.start()
    its.close()
    try:
        found = mine.recv()
    except EOFError:
        raise SystemExit(f"{function.__name__}: failed") from None
    process.join()
    return found
