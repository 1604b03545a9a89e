"""A design of a study's folder, and the tasks that it was measured on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from codesign.designs.design import Design
from codesign.designs.folder import FRONT, SPACE, load_front
from codesign.errors import InputError, nearest
from codesign.formats import Assignment
from codesign.quality.calibration import RangeRule
from codesign.search.space.written import SpaceFile
from codesign.yamlio import load_yaml


@dataclass(frozen=True)
class ChosenDesign:
    """What an export needs of one design.

    specs: by task how it is loaded: restore, rewrite, or python:package.module:function. ranges: by task what clipped
    its activations when it was measured. hardware: whether the study's space had any.
    """

    design: Design
    study: str
    folder: Path
    specs: dict[str, str]
    ranges: dict[str, RangeRule]
    hardware: bool

    @property
    def id(self) -> str:
        """The design's."""
        return self.design.id

    @property
    def assignments(self) -> dict[str, Assignment]:
        """The design's, by task."""
        return self.design.assignments


def read_design(folder: Path, design_id: str) -> ChosenDesign:
    """The design called `design_id`.

    Raises InputError on a missing or broken study folder, and on an unknown id (the nearest is offered).
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
    # the command line may have said other ranges than the space; a study from before there was a choice had the default
    ranges = {
        task: front.tasks[task].ranges if task in front.tasks else written[task].ranges for task in design.assignments
    }
    specs = {task: written[task].task for task in design.assignments}
    return ChosenDesign(design, front.study, folder, specs, ranges, front.hardware_given)
