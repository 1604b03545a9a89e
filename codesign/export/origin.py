"""`Origin`: where an exported network comes from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from codesign.models.directories import is_directory_task
from codesign.models.directories.data import placed
from codesign.search.space.written import TaskSpec


@dataclass(frozen=True)
class Origin:
    """The study, design and task of a network."""

    study: str
    design: str
    task: str
    spec: TaskSpec  # how the task is loaded
    folder: Path  # from which the paths of `spec` count

    @property
    def library(self) -> str | None:
        """``transformers`` or ``diffusers``, if the network comes from such a directory."""
        return self.spec.task.partition(":")[0] if is_directory_task(self.spec.task) else None

    @property
    def directory(self) -> Path | None:
        """The directory, or file, that the network was loaded from; None if it comes from elsewhere."""
        return placed(self.folder, self.spec.task.partition(":")[2]) if self.library else None
