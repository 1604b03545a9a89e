"""Progress of commands, on stderr."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_AT_ONCE_S = 0.02  # steps that follow each other faster were not made now
_EVERY_S = 10.0  # between two lines
_COUNTED = ("evaluations",)  # stages whose steps a minute are said
WAIT_S = 2.0  # a command that ends sooner shows no progress


class StageProgress:
    """Progress on stderr with the time left: a bar on a terminal, otherwise a line at least every 10 s.

    Called with (stage, done, total, detail). after_s: nothing is shown before; what is shown then is gone at the end.
    silent: nothing is shown at all.
    """

    def __init__(self, after_s: float = 0.0, *, silent: bool = False) -> None:
        console = Console(stderr=True)
        self._bar: Progress | None = None
        if console.is_terminal and not silent:
            self._bar = Progress(
                TextColumn("{task.description:<14}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[detail]}{task.fields[rate]}", markup=False),
                console=console,
                transient=after_s > 0,
            )
        self._tasks: dict[str, Any] = {}
        self._said = 0.0
        self._left: dict[str, TimeLeft] = {}
        self._silent = silent
        self._shown = after_s == 0
        self._line = ""  # of the last step, where it is not shown yet
        self._lock = threading.Lock()  # of all above: the timer runs in a thread of its own
        self._timer = None if self._shown or silent else threading.Timer(after_s, self._show)

    def __enter__(self) -> StageProgress:
        if self._timer is not None:
            self._timer.daemon = True
            self._timer.start()
        elif self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with self._lock:
            self._silent = True
            if self._timer is not None:
                self._timer.cancel()
            if self._bar is not None:
                self._bar.stop()

    def __call__(self, stage: str, done: int, total: int, detail: str) -> None:
        with self._lock:
            if self._silent:
                return
            timed = self._left.setdefault(stage, TimeLeft())
            left = timed.after(done, total, time.monotonic())
            rate = timed.rate() if stage in _COUNTED else ""
            if self._bar is not None:
                if stage not in self._tasks:
                    self._tasks[stage] = self._bar.add_task(stage, total=total, detail=detail, rate=rate)
                self._bar.update(self._tasks[stage], completed=done, total=total, detail=detail, rate=rate)
                return
            self._line = f"{stage}: {done}/{total} {detail}".rstrip() + rate + left
            if self._shown and (done == total or time.monotonic() - self._said > _EVERY_S):
                self._print()

    def _show(self) -> None:
        """Show what was not worth showing before."""
        with self._lock:
            if self._silent:
                return
            self._shown = True
            if self._bar is not None:
                self._bar.start()
            elif self._line:
                with contextlib.suppress(OSError):  # the terminal may be gone
                    self._print()

    def _print(self) -> None:
        self._said = time.monotonic()
        print(self._line, file=sys.stderr, flush=True)


class TimeLeft:
    """The speed and the remaining time of a stage, by the time that its last steps took."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None
        self._last = 0.0
        self._done = 0

    def after(self, done: int, total: int, now: float) -> str:
        """``, 12 min left`` after `done` of `total` steps at the time `now`; '' if nothing is known."""
        if self._first is None or now - self._last < _AT_ONCE_S:  # what an earlier run did comes all at once
            self._first = (done, now)
        self._last, self._done = now, done
        before, since = self._first
        if done >= total or done <= before:
            return ""
        left = (now - since) / (done - before) * (total - done)
        return f", {left:.0f} s left" if left < 100 else f", {left / 60:.0f} min left"

    def rate(self) -> str:
        """``, 24 a minute``: how many steps that was at the last call of `after`; '' if nothing is known."""
        before, since = self._first or (0, 0.0)
        if self._done <= before or self._last <= since:
            return ""
        return f", {60 * (self._done - before) / (self._last - since):.3g} a minute"
