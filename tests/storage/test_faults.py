"""Studies under fire: workers and coordinators killed, servers restarted, disks full, clocks moved.

After each: no finished evaluation is lost, none counts twice, the study ends, and its front is the one without faults.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from codesign.search.queue.storage import open_storage
from tests.storage.servers import PostgreSQL, storage_kinds
from tests.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
KILLS = 20
PAGE = 4096  # bytes
SPACE = """
name: fire
tasks:
  tiny: {task: "python:tests.storage.slow_tiny:task"}
pairs: [int8, "int4:int8", fp8_e4m3, mxfp4]
hardware:
  units:
    sets: [[int8], [fp8_e4m3], [mxfp4]]
    subsets_of: [[int8, "int4:int8", mxfp4]]
  rows: [2, 4]
  columns: [2]
  sram_kib: [4, 16]
objectives: [tiny.quality, area_mm2, tiny.latency_s]
search: {evaluations: 40, batch: 4, front_size: 12}
"""


class Search:
    """``codesign search`` of the space in a folder of its own, as a process that can be killed."""

    def __init__(self, folder: Path, storage: str, *, workers: int = 2, slow_s: float = 0.3) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "space.yaml").write_text(SPACE)
        self.out, self.storage = folder / "out", storage
        self._command = [sys.executable, "-m", "codesign", "search", str(folder / "space.yaml"), "--json"]
        self._command += ["--out", str(self.out), "--seed", "3", "--workers", str(workers)]
        self._environment = os.environ | {"CODESIGN_STORAGE": storage, "SLOW_TINY_S": str(slow_s)}
        self._environment |= {"OMP_NUM_THREADS": "1"}

    def begin(self, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=self._environment | environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def end(self, process: subprocess.Popen[str]) -> str:
        """Wait for a search that must succeed; what it said on stderr."""
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
        return said

    def front(self) -> dict[str, Any]:
        front = json.loads((self.out / "front.json").read_text())
        return {k: v for k, v in front.items() if k not in ("created", "timings")}

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        return optuna.load_study(study_name="fire", storage=open_storage(self.storage)).trials

    def finished(self) -> dict[str, str]:
        """What was measured, by candidate, as it stands in the storage."""
        try:
            done = [t for t in self.trials() if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        except KeyError:  # no study yet
            return {}
        found = {t.user_attrs["key"]: t.user_attrs["measured"] for t in done}
        assert len(found) == len(done), "a candidate counts twice"
        return found


@pytest.fixture(scope="module")
def without_faults(tmp_path_factory: pytest.TempPathFactory) -> Search:
    """A search that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    search = Search(folder, f"sqlite:///{folder / 'study.db'}", workers=1, slow_s=0)
    search.end(search.begin())
    return search


@pytest.fixture(scope="module")
def undisturbed(without_faults: Search) -> dict[str, Any]:
    """Its front."""
    return without_faults.front()


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in children.read_text().split()] if children.exists() else []


@pytest.mark.parametrize("kind", ["sqlite", "journal", "postgresql"])
def test_killed_again_and_again(
    kind: str, undisturbed: dict[str, Any], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """kill -9 of the coordinator and of its workers in turn, at random moments."""
    server = request.getfixturevalue("server") if kind == "postgresql" else None
    chance, kills = random.Random(kind), 0
    for number in range(KILLS):
        folder = tmp_path / str(number)
        folder.mkdir()
        search = Search(folder, storage_kinds(server)[kind](folder))
        process, seen = search.begin(), dict[str, str]()
        while kills < KILLS:
            time.sleep(chance.uniform(0.1, 2.0) if kills % 2 else chance.uniform(2.0, 6.0))
            if process.poll() is not None:
                break
            victims = workers_of(process) if kills % 2 else [process.pid]
            for victim in chance.sample(victims, min(1, len(victims))):
                os.kill(victim, signal.SIGKILL)
                kills += 1
                if victim == process.pid:
                    process.communicate()
                    process = search.begin()
            now = search.finished()
            assert seen.items() <= now.items(), "a finished evaluation was lost"
            seen = now
        search.end(process)
        assert seen.items() <= search.finished().items()
        assert search.front() == undisturbed
        if kills >= KILLS:
            return
    raise AssertionError(f"only {kills} kills")


def test_the_server_restarts(undisturbed: dict[str, Any], server: PostgreSQL, tmp_path: Path) -> None:
    search = Search(tmp_path / "study", server.database(), slow_s=0.4)
    process = search.begin()
    for _ in range(2):
        before = wait_for(search, 4 + len(search.finished()))
        server.stop()
        time.sleep(2)
        server.start()
        assert before.items() <= search.finished().items()
    search.end(process)
    assert search.front() == undisturbed


def wait_for(search: Search, count: int) -> dict[str, str]:
    """Wait until so many evaluations are finished."""
    wait_until(lambda: len(search.finished()) >= count)
    return search.finished()


def pages(folder: Path) -> list[int]:
    """Bytes that each file of a folder takes on a disk of pages."""
    return [-(-file.stat().st_size // PAGE) * PAGE for file in folder.rglob("*") if file.is_file()]


def test_the_disk_is_full_when_the_report_is_written(
    without_faults: Search, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    """The search says so in a line; with room again it ends at once, and measures nothing twice."""
    disk = tmp_path / "disk"
    disk.mkdir()
    evaluations, every = sum(pages(without_faults.out / "evaluations")), sum(pages(without_faults.out))
    size = (evaluations + every) // 2  # holds all that is measured, and half of what is written of it
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "codesign-test", str(disk)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("no disk of our own can be mounted here (needs root)")
    try:
        search = Search(disk / "study", f"sqlite:///{tmp_path / 'study.db'}", slow_s=0)
        process = search.begin()
        _, said = process.communicate(timeout=300)
        assert process.returncode == 3
        assert "No space left" in said.strip().splitlines()[-1]
        assert "Traceback" not in said
        kept = search.finished()
        assert len(kept) == undisturbed["evaluations"]
        subprocess.run(["mount", "-o", "remount,size=40m", str(disk)], check=True)
        search.end(search.begin())
        assert search.finished() == kept
        assert search.front() == undisturbed
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def test_two_coordinators(storage: str, undisturbed: dict[str, Any], tmp_path: Path) -> None:
    """The second is sent away, the first is not disturbed."""
    search = Search(tmp_path / "first", storage, slow_s=1.0)
    process = search.begin()
    wait_for(search, 3)
    second = Search(tmp_path / "second", storage)
    other = second.begin()
    _, said = other.communicate(timeout=120)
    assert other.returncode == 2
    assert "is being searched already" in said.strip().splitlines()[-1]
    search.end(process)
    search.finished()
    assert search.front() == undisturbed


@pytest.mark.parametrize("kind", ["sqlite", "journal", "postgresql"])
def test_the_clock_moves(
    kind: str, undisturbed: dict[str, Any], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The time of day jumps by days, twice a second, for the coordinator and its workers."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler for a clock that moves")
    library = tmp_path / "moving_clock.so"
    source = Path(__file__).with_name("moving_clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    moved = {"LD_PRELOAD": str(library)}
    days = "import time; print(len({time.sleep(0.5) or time.time() // 86400 for _ in range(6)}))"
    asked = subprocess.run([sys.executable, "-c", days], env=os.environ | moved, capture_output=True, check=True)
    assert int(asked.stdout) > 2
    server = request.getfixturevalue("server") if kind == "postgresql" else None
    search = Search(tmp_path / "study", storage_kinds(server)[kind](tmp_path))
    search.end(search.begin(**moved))
    search.finished()
    assert search.front() == undisturbed
