"""One coordinator a study: who leads it says so in the study, again and again."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from types import TracebackType

from optuna.storages import BaseStorage

from codesign.errors import EnvironmentProblem, InputError
from codesign.search.queue.queue import BEAT_S, machine, signature, surely_gone
from codesign.search.queue.storage import patient

_ATTRIBUTE = "coordinator"
_WATCHED_S = 3 * BEAT_S  # a coordinator of another machine that shows no sign of life for so long is gone


class Lease:
    """Held while a study is led; raises InputError where another process leads it."""

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
        self.check()  # of two that began at once the last to sign stays
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        with contextlib.suppress(Exception):  # an ended study is no less ended when this cannot be said
            if not self._lost:
                self._storage.set_study_user_attr(self._study_id, _ATTRIBUTE, "")

    def check(self) -> None:
        """Raises EnvironmentProblem where another coordinator took over: this process was taken for dead."""
        holder = current(self._storage, self._study_id)
        if self._lost or holder is None or holder[0] != self._me:
            self._lost = True
            who = _in_words(holder[0]) if holder else "nobody"
            raise EnvironmentProblem(f"study '{self._name}' is led by another process now ({who}); this one stops")

    def _refuse_if_alive(self, holder: tuple[str, int]) -> None:
        end = time.monotonic() + _WATCHED_S
        while time.monotonic() < end:
            local = holder[0].startswith(f"{machine()}/")  # and it lives: no need to wait for its next sign
            now = current(self._storage, self._study_id)
            if now is None:
                return
            if local or now != holder:
                raise InputError(
                    f"study '{self._name}' is being searched already ({_in_words(holder[0])}); wait until it ends, "
                    "add workers to it with codesign worker, or give another --out"
                )
            time.sleep(0.5)

    @patient
    def _sign(self) -> None:
        self._storage.set_study_user_attr(self._study_id, _ATTRIBUTE, json.dumps([self._me, self._count]))

    def _beat(self) -> None:
        while not self._done.wait(BEAT_S):
            self._count += 1
            with contextlib.suppress(Exception):  # the next one may reach the storage
                holder = current(self._storage, self._study_id)
                if holder is not None and holder[0] != self._me:
                    self._lost = True
                    return
                self._storage.set_study_user_attr(self._study_id, _ATTRIBUTE, json.dumps([self._me, self._count]))


@patient
def current(storage: BaseStorage, study_id: int) -> tuple[str, int] | None:
    """Who leads the study and its count of signs; None where nobody does."""
    written = storage.get_study_user_attrs(study_id).get(_ATTRIBUTE)
    if not written:
        return None
    name, count = json.loads(written)
    return str(name), int(count)


def _in_words(name: str) -> str:
    host, process, _ = name.rsplit("/", 2)
    return f"process {process} on {host.rpartition('.')[0] or host}"
