"""Errors that a user can act on. Each has one line of text and an exit code of the command line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CodesignError(Exception):
    """Base of every error that the CLI prints as one line, without a traceback."""

    exit_code = 2


class InputError(CodesignError, ValueError):
    """The user's input is wrong (exit code 2)."""


class EnvironmentProblem(CodesignError, OSError):
    """The surroundings failed: storage unreachable, disk full, folder not writable (exit code 3)."""

    exit_code = 3

    def __str__(self) -> str:  # OSError formats its arguments as (errno, text); one text is meant here
        return str(self.args[0]) if self.args else ""


def nearest(word: str, valid: Iterable[str]) -> str:
    """A suffix such as ``; did you mean 'int8'?`` naming the closest valid spelling, or ''."""
    valid = list(valid)
    match = difflib.get_close_matches(word, valid, n=1, cutoff=0.5)
    if match:
        return f"; did you mean '{match[0]}'?"
    return f"; valid: {', '.join(sorted(valid)[:12])}" if valid else ""
