"""A design of a study folder: its entry in front.json, and the tasks that it was measured on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codesign.errors import InputError, nearest
from codesign.files import read_text
from codesign.formats import Assignment
from codesign.quality.calibration import RangeRule, check_rule
from codesign.search.space.written import SpaceFile
from codesign.yamlio import load_yaml


@dataclass(frozen=True)
class ChosenDesign:
    """What an export needs of one design: per task its assignment and how the task is loaded.

    hardware_given: whether the study's space had any. record: its whole entry in front.json.
    """

    id: str
    study: str
    folder: Path
    assignments: dict[str, Assignment]
    specs: dict[str, str]  # task -> restore, rewrite, or python:package.module:function
    ranges: dict[str, RangeRule]  # task -> what clipped its activations when it was measured
    hardware_given: bool
    record: dict[str, Any]


def read_design(folder: Path, design_id: str) -> ChosenDesign:
    """The design called `design_id`.

    Raises InputError on a missing or broken study folder, and on an unknown id (the nearest is offered).
    """
    front = folder / "front.json"
    text = read_text(front)
    try:
        record: dict[str, Any] = json.loads(text)
        designs = {design["id"]: design for design in record["designs"]}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{front}: not the front of a study ({error})") from None
    if design_id not in designs:
        raise InputError(f"{front}: no design '{design_id}'{nearest(design_id, designs)}")
    try:
        assignments = {task: Assignment.from_dict(a) for task, a in designs[design_id]["assignments"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{front}: design '{design_id}' has no readable assignments ({error})") from None
    written = load_yaml(folder / "space.yaml", SpaceFile).tasks
    specs, measured = {task: spec.task for task, spec in written.items()}, record.get("tasks", {})
    for task in assignments:
        if task not in specs:
            raise InputError(f"{folder / 'space.yaml'}: no task '{task}'{nearest(task, specs)}")
        if not specs[task]:
            raise InputError(f"{folder}: '{task}' is a workload in given formats: there is no network to export")
    # the command line may have said other ranges than the space; a study from before there was a choice had the default
    ranges = {task: check_rule(measured.get(task, {}).get("ranges", written[task].ranges)) for task in assignments}
    return ChosenDesign(
        id=design_id,
        study=str(record.get("study", folder.name)),
        folder=folder,
        assignments=assignments,
        specs=specs,
        ranges=ranges,
        hardware_given=bool(record.get("hardware_given", True)),
        record=designs[design_id],
    )
