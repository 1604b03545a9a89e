"""The workers that a search starts itself: one thread of its process, or N single-threaded processes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from codesign.errors import CodesignError, EnvironmentProblem
from codesign.quality import Evaluator
from codesign.search.queue.queue import Queue
from codesign.search.queue.worker import Worker
from codesign.search.space.network import Network

STORAGE_VARIABLE = "CODESIGN_STORAGE"  # not an argument: the URL may hold a password, and all users can list arguments
PARENT_VARIABLE = "CODESIGN_PARENT"  # process id of the search; its workers end with it
_STARTS = 3  # failures of one worker process after which the search gives up


class LocalWorkers(Protocol):
    """The local workers of a running search."""

    def check(self) -> None:
        """Check that the workers are running; raises the error that stopped one."""

    def stop(self) -> None:
        """Wait until each worker has finished its current trial, and end it."""


class Thread:
    """One worker as a thread of this process; a search that is killed loses one evaluation."""

    def __init__(self, queue: Queue, networks: Mapping[str, Network], evaluators: Mapping[str, Evaluator]) -> None:
        self._worker = Worker(queue, networks, evaluators)
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._worker.run(self._ended.is_set)
        except BaseException as error:  # raised again by check
            self._error = error

    def check(self) -> None:
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()


class Processes:
    """N ``codesign worker`` processes on this machine; one that dies is restarted."""

    def __init__(self, count: int, storage: str, study: str, cache: Path) -> None:
        self._command = [sys.executable, "-m", "codesign", "worker", "--study", study, "--cache", str(cache)]
        self._environment = os.environ | {STORAGE_VARIABLE: storage, PARENT_VARIABLE: str(os.getpid())}
        self._environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self._said = [tempfile.TemporaryFile("w+") for _ in range(count)]  # noqa: SIM115  # closed by stop
        self._failed = [0] * count
        self._processes = [self._start(i) for i in range(count)]

    def _start(self, place: int) -> subprocess.Popen[str]:
        self._said[place].seek(0)
        self._said[place].truncate()
        return subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._said[place],
            text=True,
            start_new_session=True,  # Ctrl-C and the end of a terminal are for the search, which tells its workers
        )

    def check(self) -> None:
        for place, process in enumerate(self._processes):
            code = process.poll()
            if code is None:
                continue
            self._failed[place] += code > 0
            if code == 2 or self._failed[place] >= _STARTS:
                raise self._why(place, code)
            self._processes[place] = self._start(place)

    def _why(self, place: int, code: int) -> CodesignError:
        self._said[place].seek(0)
        last = self._said[place].read().strip().splitlines()[-1:] or [f"it ended with code {code}"]
        return EnvironmentProblem(f"a worker process failed: {last[0].removeprefix('codesign: error: ')}")

    def stop(self) -> None:
        try:
            for process in self._processes:  # the study has ended: each process exits after its current trial
                process.wait()
        except KeyboardInterrupt:  # again: their trials go back to the queue
            for process in self._processes:
                process.terminate()
            raise
        finally:
            for file in self._said:
                file.close()
