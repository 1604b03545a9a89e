"""SIGTERM and SIGHUP end a command as Ctrl-C does: what was measured is kept.

An exception that a signal raises amid a transaction can leave the transaction open, and with it a lock on which the
rest of the process waits, so `held` lets a signal wait until the operation has ended.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

_LIKE_CTRL_C = ("SIGTERM", "SIGHUP")  # the latter is not known to every system
_ENDING = ("SIGINT", *_LIKE_CTRL_C)


class Stopped(KeyboardInterrupt):
    """A signal that asks the process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def exit_code(stop: KeyboardInterrupt) -> int:
    """128 and the number of the signal, as shells count: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
    return 128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Within the context, SIGTERM and SIGHUP raise `Stopped` in the main thread, unless they are ignored (nohup)."""
    before = {
        number: signal.signal(number, _stop)
        for number, handler in _handlers(_LIKE_CTRL_C).items()
        if handler == signal.SIG_DFL
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Signals that arrive within the context act at its end; a second one of a kind acts at once."""
    before, waiting = _handlers(_ENDING), []

    def wait(number: int, _: FrameType | None) -> None:
        signal.signal(number, before[number])
        waiting.append(number)

    for number in before:
        signal.signal(number, wait)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in waiting:
            signal.raise_signal(number)


def _handlers(names: Iterable[str]) -> dict[int, Any]:
    """What this process does at these signals; without those that it ignores, and none outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    found = {number: signal.getsignal(number) for number in numbers}
    return {number: handler for number, handler in found.items() if handler not in (signal.SIG_IGN, None)}


def _stop(number: int, _: FrameType | None) -> None:
    raise Stopped(number)
