"""Reading, validating and writing a study's folder: front.json, details.json and examples.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from codesign.designs.design import Design
from codesign.designs.front import READ_VERSIONS, Front
from codesign.designs.record import StudyRecord
from codesign.errors import InputError
from codesign.files import read_text, write_atomic

FRONT, DETAILS, EXAMPLES, SPACE = "front.json", "details.json", "examples.json", "space.yaml"
Examples = dict[str, dict[str, list[dict[str, str]]]]  # network -> which (input, float, design id) -> items
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Study:
    """The results of a finished study."""

    folder: Path
    front: Front
    record: StudyRecord
    examples: Examples  # inputs and outputs of the networks, for people to look at

    @property
    def measured(self) -> bool:
        """Whether the study ran networks; a study with given formats only prices them."""
        return any(design.quality for design in self.front)

    @property
    def hardware(self) -> bool:
        """Whether the space has hardware; otherwise every cost of a chip is that of a nominal one."""
        return self.front.hardware_given

    def roles(self, design: Design) -> list[str]:
        """The roles of a design in the study: balanced, lowest quality."""
        named = {"balanced": self.record.chosen, "lowest quality": self.record.worst}
        return [role for role, identifier in named.items() if identifier == design.id]

    @property
    def chosen(self) -> Design:
        """The balanced design: the one closest to the ideal point of the front."""
        return self.front.design(self.record.chosen)


def load_study(folder: Path) -> Study:
    """Read a study's folder; raises InputError with one line if it holds no study or a damaged one."""
    front = load_front(folder)
    record = _checked(folder / DETAILS, _json(folder / DETAILS), StudyRecord)
    known = {design.id for design in front}
    for role, identifier in (("chosen", record.chosen), ("worst", record.worst)):
        if identifier is not None and identifier not in known:
            raise InputError(f"{folder / DETAILS}: {role} '{identifier}' is no design of {FRONT}")
    examples = _json(folder / EXAMPLES)
    if not isinstance(examples, dict):
        raise InputError(f"{folder / EXAMPLES}: expected examples by network, found {type(examples).__name__}")
    return Study(folder, front, record, examples)


def load_front(folder: Path) -> Front:
    """Read front.json alone; raises InputError with one line if it is missing or invalid."""
    path = folder / FRONT
    if not path.exists():
        raise InputError(f"{folder}: no study here ({FRONT} is missing)")
    data = _json(path)
    version = data.get("schema_version") if isinstance(data, dict) else type(data).__name__
    if version not in READ_VERSIONS:
        known = " or ".join(map(str, READ_VERSIONS))
        raise InputError(f"{path}: schema_version is {version}, expected {known}")
    if not isinstance(data.get("designs"), list) or not data["designs"]:
        raise InputError(f"{path}: key 'designs' holds no design")
    return _checked(path, data, Front)


def save_study(study: Study, space: str, tables: dict[str, str]) -> None:
    """Write a study's folder; raises EnvironmentProblem if it cannot be written.

    front.json is written last, so that its presence means that the study is complete.

    Args:
        study: the results.
        space: text of the space file.
        tables: name -> text of further files.
    """
    write_atomic(study.folder / SPACE, space)
    for name, text in tables.items():
        write_atomic(study.folder / name, text)
    write_atomic(study.folder / EXAMPLES, json.dumps(study.examples))
    write_atomic(study.folder / DETAILS, as_json(study.record))
    write_atomic(study.folder / FRONT, as_json(study.front))


def as_json(model: BaseModel) -> str:
    """JSON of a front or a record, without fields that are None."""
    return json.dumps(model.model_dump(mode="json", exclude_none=True), indent=1)


def _json(path: Path) -> Any:
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: broken JSON: {error.msg}") from None


def _checked(path: Path, data: Any, model: type[M]) -> M:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
        if first["type"] == "missing":
            raise InputError(f"{path}: key '{key}' is missing") from None
        message = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{path}: {key}: {message}") from None
