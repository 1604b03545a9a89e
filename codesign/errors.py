"""Errors that a user can act on. Each has a one-line text and an exit code of the command line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CodesignError(Exception):
    """Base of the errors that the command line prints as one line, without a traceback."""

    exit_code = 2


class InputError(CodesignError, ValueError):
    """The user's input is wrong (exit code 2)."""


class EnvironmentProblem(CodesignError, OSError):
    """The environment failed: storage unreachable, disk full, folder not writable (exit code 3)."""

    exit_code = 3

    def __str__(self) -> str:  # OSError would format its arguments as (errno, text)
        return str(self.args[0]) if self.args else ""


def nearest(word: str, valid: Iterable[str]) -> str:
    """A suffix for error texts that suggests the closest valid word: ``; did you mean 'int8'?``.

    Without a close one it lists up to 12 valid words; '' if there are none.
    """
    valid = list(valid)
    match = difflib.get_close_matches(word, valid, n=1, cutoff=0.5)
    if match:
        return f"; did you mean '{match[0]}'?"
    return f"; valid: {', '.join(sorted(valid)[:12])}" if valid else ""
