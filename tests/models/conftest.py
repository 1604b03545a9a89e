"""The bundled networks and the runs of them that take seconds, which the tests of several files look at."""

from __future__ import annotations

import pytest
import torch

from codesign.models import restore
from codesign.models.restore import RestoreTask
from codesign.models.task import Outputs


@pytest.fixture(scope="session")
def restore_task() -> RestoreTask:
    return restore.load()


@pytest.fixture(scope="session")
def restored_in_full(restore_task: RestoreTask) -> Outputs:
    """Every held-out crop in all four tasks."""
    with torch.inference_mode():
        return restore_task.run(restore_task.module, full=True)
