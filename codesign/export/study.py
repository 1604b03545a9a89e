"""Reading a design of a study, and the tasks that it was measured on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from codesign.designs.design import Design
from codesign.designs.folder import EVALUATIONS, FRONT, SPACE, load_front
from codesign.errors import InputError, nearest
from codesign.export.origin import Origin
from codesign.formats import Assignment
from codesign.models import Task
from codesign.quality import Evaluator
from codesign.search.space.loading import load_written
from codesign.search.space.written import SpaceFile, TaskSpec
from codesign.search.study.claim import claimed, space_folder
from codesign.terms import RangeRule
from codesign.workload import Workload
from codesign.workload.roles import RoleRules
from codesign.yamlio import load_yaml


@dataclass(frozen=True)
class ChosenDesign:
    """What an export needs to know of a design."""

    design: Design
    study: str
    folder: Path
    specs: dict[str, TaskSpec]  # task -> how it is loaded
    ranges: dict[str, RangeRule]  # task -> rule that clipped its activations when it was measured
    hardware: bool  # whether the study's space has hardware
    base: Path  # from which the tasks' files are named
    measured: Mapping[str, Mapping[str, str]]  # task -> its `Task.facts` at the search; empty for older studies

    @property
    def id(self) -> str:
        """The design's id."""
        return self.design.id

    def load(self, name: str) -> Task:
        """A task, with the data that it was measured on.

        Raises InputError if it is not the one that the study measured: a design is of its network, and of no other.
        """
        task = load_written(self.specs[name], name, self.base)
        before, now = self.measured.get(name, {}), task.facts()
        if before.get("fingerprint", now["fingerprint"]) != now["fingerprint"]:
            other = [key for key in ("data", "metric", "seed") if before.get(key, now[key]) != now[key]]
            raise InputError(
                f"{self.folder}: '{name}' has other {' and '.join(other) or 'weights'} than when it was measured; a "
                "function that makes a network gives the same each time (torch.manual_seed, or weights from a file)"
            )
        return task

    def task_named(self, name: str | None) -> str:
        """The design's network of this name, or its only one; raises InputError with the nearest name."""
        if name is None and len(self.assignments) > 1:
            raise InputError(f"{self.id} has several networks; name one as task: {', '.join(self.assignments)}")
        if name is not None and name not in self.assignments:
            raise InputError(f"{self.id} has no task '{name}'{nearest(name, self.assignments)}")
        return name or next(iter(self.assignments))

    def rules(self, name: str, workload: Workload) -> RoleRules:
        """The formats of a network, whose workload is given, by role of its layers."""
        origin = {"study": self.study, "design": self.id, "task": name}
        return RoleRules.of(self.assignments[name], workload, origin)

    def origin(self, name: str) -> Origin:
        """Where a network comes from."""
        return Origin(self.study, self.id, name, self.specs[name], self.base)

    def evaluator(self, name: str, task: Task) -> Evaluator:
        """An evaluator of a task as the study had it, with the weights that were rounded for the study."""
        return Evaluator(task, cache=self.folder / EVALUATIONS, ranges=self.ranges[name])

    @property
    def assignments(self) -> dict[str, Assignment]:
        """The design's assignments, by task."""
        return self.design.assignments


def read_design(folder: Path, design_id: str) -> ChosenDesign:
    """Read the design `design_id` of a study.

    Raises InputError if the study's folder is missing or broken, and on an unknown id, with the nearest.
    """
    front = load_front(folder)
    try:
        design = front.design(design_id)
    except InputError as error:
        raise InputError(f"{folder / FRONT}: {error}") from None
    written = load_yaml(folder / SPACE, SpaceFile).tasks
    for task in design.assignments:
        if task not in written:
            raise InputError(f"{folder / SPACE}: no task '{task}'{nearest(task, written)}")
        if not written[task].task:
            raise InputError(f"{folder}: '{task}' is a workload in given formats: there is no network to export")
    # --ranges may have overridden the space's rule; older studies without this field used the default
    ranges = {
        task: front.tasks[task].ranges if task in front.tasks else written[task].ranges for task in design.assignments
    }
    specs = {task: written[task] for task in design.assignments}
    measured = claimed(folder).get("space", {}).get("networks", {})
    base = space_folder(folder)
    return ChosenDesign(design, front.study, folder, specs, ranges, front.hardware_given, base, measured)
