"""Code of the user's own that codesign runs: task functions, forward passes, metrics.

What goes wrong in it is one line that names the user's file and line; the traceback is kept as the error's cause.
"""

from __future__ import annotations

import contextlib
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from codesign.errors import CodesignError, InputError

_OURS = Path(__file__).parent
_STANDARD = sysconfig.get_path("stdlib")
_TORCH = re.compile(r"[/\\](site|dist)-packages[/\\](torch|numpy)[/\\]")


class UserCodeError(InputError):
    """An exception of the user's own code; `__cause__` is that exception."""


@contextlib.contextmanager
def users(what: str, shapes: Callable[[], str] | None = None) -> Iterator[None]:
    """Run code of the user's own: what it prints goes to stderr, what it raises becomes a UserCodeError.

    what: the code, in words. shapes: says what it was called with; asked for only where something went wrong.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except CodesignError:
        raise
    except (Exception, SystemExit) as error:
        called = f" (called with {shapes()})" if shapes is not None else ""
        raise UserCodeError(f"{what}{_place(error)}: {_said(error)}{called}") from error


def _said(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it ended the process: sys.exit({error.code!r})"
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _place(error: BaseException) -> str:
    """File and line of the user's own frame nearest to the error; '' where there is none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" {error.filename}:{error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if _is_users(frame.filename):
            return f" {frame.filename}:{frame.lineno}"
    return ""


def _is_users(file: str) -> bool:
    standard = file.startswith(_STANDARD) and "-packages" not in file
    return not (standard or file.startswith("<") or _TORCH.search(file) or _OURS in Path(file).parents)
