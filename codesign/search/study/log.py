"""search.log of a study's folder: a line with its time for each run's begin, rounds, failures and end."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from codesign.errors import CodesignError

LOG = "search.log"
log = logging.getLogger("codesign.search")


def versions() -> dict[str, str]:
    """What a study is made with: versions of this package and of those that compute, and the host."""
    import numpy
    import optuna
    import torch

    return {
        "codesign": str(sys.modules["codesign"].__version__),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "optuna": optuna.__version__,
        "host": platform.node() or "unknown",
        "machine": platform.machine() or "unknown",
    }


class _File(logging.FileHandler):
    """A log file that a full disk does not make noisy: the search itself will say so."""

    def handleError(self, record: logging.LogRecord) -> None:
        return


@contextlib.contextmanager
def logged(folder: Path, begin: str) -> Iterator[None]:
    """Within the context, messages of this logger are appended to the folder's search.log, and how it ended."""
    handler = _File(folder / LOG, encoding="utf-8")
    form = logging.Formatter("%(asctime)sZ %(message)s", "%Y-%m-%dT%H:%M:%S")
    form.converter = time.gmtime
    handler.setFormatter(form)
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    with_versions = ", ".join(f"{name} {version}" for name, version in versions().items())
    log.info("begin: %s; process %d, %s", begin, os.getpid(), with_versions)
    try:
        yield
    except CodesignError as error:
        log.info("error: %s", error)
        raise
    except BaseException as error:
        log.info("stopped: %s", " ".join(f"{type(error).__name__} {error}".split()))
        raise
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        handler.close()
