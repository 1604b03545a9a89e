"""Libraries that say more than a user wants to know, kept quiet within a context."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

# transformers and diffusers import torchao where it is installed. It tells, each time, which of its CUDA kernels do not
# load on this machine, torch warns of how torchao registers its enumerations, and diffusers of classes that are gone.
_OF_TORCHAO = ("torchao", "torch.utils._pytree", "diffusers.quantizers.torchao")


@contextlib.contextmanager
def errors_alone(*loggers: str) -> Iterator[None]:
    """Within the context these loggers tell errors alone."""
    found = [logging.getLogger(name) for name in loggers]
    before = [each.level for each in found]
    for each in found:
        each.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for each, level in zip(found, before, strict=True):
            each.setLevel(level)


def calm() -> contextlib.AbstractContextManager[None]:
    """Without the warnings that torchao's import logs."""
    return errors_alone(*_OF_TORCHAO)


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without the progress bars and warnings of transformers."""
    from transformers.utils import logging as of_library

    theirs: Any = of_library
    before, bars = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    theirs.set_verbosity(theirs.ERROR)
    theirs.disable_progress_bar()
    try:
        yield
    finally:
        theirs.set_verbosity(before)
        if bars:
            theirs.enable_progress_bar()
