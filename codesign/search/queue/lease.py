"""The lease of a study: at most one coordinator per study, which renews its claim by heartbeats."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from optuna.storages import BaseStorage

from codesign.errors import EnvironmentProblem, InputError
from codesign.search.queue.queue import BEAT_S, machine, now, signature, surely_gone
from codesign.search.queue.storage import patient
from codesign.signals import held

_ATTRIBUTE = "coordinator"
_WATCHED_S = 3 * BEAT_S  # a coordinator of another machine without a heartbeat for this long is considered dead


class Lease:
    """A context manager that holds the lease of a study; raises InputError if another live process holds it.

    The lease is a study attribute with the holder's signature and a counter, which a thread increments every BEAT_S.
    A holder on this machine is checked by its process id; one on another machine by whether its counter moves.
    """

    def __init__(self, storage: BaseStorage, study_id: int, name: str) -> None:
        self._storage, self._study_id, self._name = storage, study_id, name
        self._me = signature()
        self._count = 0
        self._done = threading.Event()
        self._lost = False
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Lease:
        holder = current(self._storage, self._study_id)
        if holder is not None and not surely_gone(holder[0]):
            self._refuse_if_alive(holder)
        self._sign()
        time.sleep(0.05)
        self.check()  # of two that start at once, the last to sign keeps the lease
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        with held(), contextlib.suppress(Exception):  # the study has ended even if the lease cannot be released
            if not self._lost:
                self._storage.set_study_user_attr(self._study_id, _ATTRIBUTE, "")

    def check(self) -> None:
        """Raise EnvironmentProblem if another coordinator has taken over, having taken this process for dead."""
        holder = current(self._storage, self._study_id)
        if self._lost or holder is None or holder[0] != self._me:
            self._lost = True
            who = in_words(holder[0]) if holder else "nobody"
            raise EnvironmentProblem(f"study '{self._name}' is led by another process now ({who}); this one stops")

    def _refuse_if_alive(self, holder: tuple[str, int]) -> None:
        end = time.monotonic() + _WATCHED_S
        while time.monotonic() < end:
            local = holder[0].startswith(f"{machine()}/")  # known to be alive: no need to wait for its next heartbeat
            latest = current(self._storage, self._study_id)
            if latest is None:
                return
            if local or latest != holder:
                raise InputError(
                    f"study '{self._name}' is being searched already ({in_words(holder[0])}); wait until it ends, "
                    "add workers to it with codesign worker, or give another --out"
                )
            time.sleep(0.5)

    @patient
    def _sign(self) -> None:
        self._write()

    def _write(self) -> None:
        written = json.dumps([self._me, self._count, now()])
        self._storage.set_study_user_attr(self._study_id, _ATTRIBUTE, written)

    def _beat(self) -> None:
        while not self._done.wait(BEAT_S):
            self._count += 1
            with contextlib.suppress(Exception):  # the next heartbeat may reach the storage
                holder = current(self._storage, self._study_id)
                if holder is not None and holder[0] != self._me:
                    self._lost = True
                    return
                self._write()


@patient
def current(storage: BaseStorage, study_id: int) -> tuple[str, int] | None:
    """The signature of the study's coordinator and its heartbeat counter; None if it has none."""
    written = storage.get_study_user_attrs(study_id).get(_ATTRIBUTE)
    if not written:
        return None
    name, count, *_ = json.loads(written)
    return str(name), int(count)


def last_beat(attributes: Mapping[str, Any]) -> str | None:
    """The time of the coordinator's last heartbeat, by its own clock, from the attributes of a study."""
    written = attributes.get(_ATTRIBUTE)
    _, _, *time_of_day = json.loads(written) if written else (None, None)
    return time_of_day[0] if time_of_day else None


def in_words(name: str) -> str:
    host, process, _ = name.rsplit("/", 2)
    return f"process {process} on {host.rpartition('.')[0] or host}"
