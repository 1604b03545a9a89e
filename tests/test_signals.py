"""Signals end a command, but not amid an operation that must end first."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from codesign.signals import Stopped, exit_code, held, stoppable

ENDING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def _as_in_a_terminal() -> Iterator[None]:
    """All act as usual: nohup, or a shell in the background, makes what it starts ignore some of them."""
    usual: dict[int, Any] = dict.fromkeys(ENDING, signal.SIG_DFL) | {signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def counted() -> list[int]:
    """The signals that arrive, which a handler of the process's own notes."""
    found: list[int] = []
    for number in ENDING:
        signal.signal(number, lambda number, _: found.append(number))
    return found


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in ENDING]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_raises_what_says_which_it_was(number: signal.Signals, code: int) -> None:
    before = handlers()
    with pytest.raises(Stopped, match=f"^{number.name}$") as stopped, stoppable():
        signal.raise_signal(number)
    assert stopped.value.number == number
    assert exit_code(stopped.value) == code
    assert handlers() == before


def test_ctrl_c_has_the_code_of_its_signal() -> None:
    assert exit_code(KeyboardInterrupt()) == 130


def test_what_a_program_around_handles_itself_is_left_to_it(counted: list[int]) -> None:
    with stoppable():
        signal.raise_signal(signal.SIGTERM)
    assert counted == [signal.SIGTERM]


@pytest.mark.parametrize("context", [stoppable, held])
def test_other_threads_leave_signals_alone(context: Callable[[], Any]) -> None:
    inside: list[list[Any]] = []

    def look() -> None:
        with context():
            inside.append(handlers())

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert inside == [handlers()]


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_waits_for_the_end_of_what_is_held(number: signal.Signals, counted: list[int]) -> None:
    before = handlers()
    with held():
        signal.raise_signal(number)
        assert counted == []
    assert counted == [number]
    assert handlers() == before


def test_a_second_one_of_a_kind_acts_at_once_and_the_first_at_the_end(counted: list[int]) -> None:
    with held():
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGHUP):
            signal.raise_signal(number)
        assert counted == [signal.SIGTERM]
    assert counted == [signal.SIGTERM, signal.SIGTERM, signal.SIGHUP]


def test_a_signal_that_waited_acts_where_the_operation_fails_too(counted: list[int]) -> None:
    before = handlers()

    def failing() -> None:
        with held():
            signal.raise_signal(signal.SIGINT)
            raise ValueError("it failed")

    with pytest.raises(ValueError, match="it failed"):
        failing()
    assert counted == [signal.SIGINT]
    assert handlers() == before


@pytest.mark.parametrize("context", [stoppable, held])
def test_a_signal_that_is_ignored_stays_ignored(context: Callable[[], Any]) -> None:
    """nohup codesign search ..."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with context():
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        os.kill(os.getpid(), signal.SIGHUP)


@pytest.mark.parametrize("context", [stoppable, held])
def test_a_system_without_hangups_has_the_other_signals(
    context: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(signal, "SIGHUP")
    with pytest.raises(KeyboardInterrupt), context():
        signal.raise_signal(signal.SIGINT)
