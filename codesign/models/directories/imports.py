"""Imports of libraries that say more than a user wants to know."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

# transformers and diffusers import torchao where it is installed. It tells, each time, which of its CUDA kernels do not
# load on this machine, torch warns of how torchao registers its enumerations, and diffusers of classes that are gone.
_LOGGERS = ("torchao", "torch.utils._pytree", "diffusers.quantizers.torchao")


@contextlib.contextmanager
def calm() -> Iterator[None]:
    """Without the warnings that torchao's import logs."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for each, level in zip(loggers, before, strict=True):
            each.setLevel(level)
