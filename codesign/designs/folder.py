"""Reading, validating and writing a study's folder: front.json, details.json, examples.json, and earlier fronts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, TypeAdapter

from codesign.designs.design import Design
from codesign.designs.front import READ_VERSIONS, Front
from codesign.designs.record import StudyRecord
from codesign.errors import InputError
from codesign.files import write_atomic
from codesign.jsonio import checked, read_json

FRONT, DETAILS, EXAMPLES, SPACE = "front.json", "details.json", "examples.json", "space.yaml"
EVALUATIONS = "evaluations"  # what was measured, and the weights that were rounded for it
EARLIER = "earlier"  # fronts of earlier runs, each in a folder called by its time
_OF_A_RUN = {"created", "made_with"}  # fields of a front that differ where nothing was found


def _shown(shown: dict[str, list[dict[str, str]]]) -> dict[str, list[dict[str, str]]]:
    """Raise ValueError unless the lists of a network go together, of pictures or of texts."""
    if len({len(items) for items in shown.values()}) > 1:
        raise ValueError("expected as many examples in every list")
    kinds = {"label and png": {"label", "png"}, "source, target and text": {"source", "target", "text"}}
    if shown and not any(
        all(keys <= set(item) for items in shown.values() for item in items) for keys in kinds.values()
    ):
        raise ValueError(f"expected in every example {' or '.join(kinds)}")
    return shown


# network -> which (input, float, design id) -> items
Examples = dict[str, Annotated[dict[str, list[dict[str, str]]], AfterValidator(_shown)]]
_FRONT, _RECORD = TypeAdapter(Front), TypeAdapter(StudyRecord)
_EXAMPLES: TypeAdapter[Examples] = TypeAdapter(Examples)


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
    record = checked(folder / DETAILS, read_json(folder / DETAILS), _RECORD)
    try:
        _agree(front, record)
    except InputError as error:
        raise InputError(f"{folder / DETAILS}: {error}") from None
    examples = checked(folder / EXAMPLES, read_json(folder / EXAMPLES), _EXAMPLES)
    return Study(folder, front, record, examples)


def _agree(front: Front, record: StudyRecord) -> None:
    """Raise InputError if details.json is not of the same study as front.json."""
    known = {design.id for design in front}
    for role, identifier in (("chosen", record.chosen), ("worst", record.worst)):
        if identifier is not None and identifier not in known:
            raise InputError(f"{role} '{identifier}' is no design of {FRONT}")
    for baseline in record.baselines:
        front.check_objectives(baseline)
    layers = {name: {layer.name for layer in network.layers} for name, network in record.tasks.items()}
    for design in (*front, *record.baselines):
        for name, assignment in design.assignments.items():
            if name not in layers:
                raise InputError(f"tasks: '{name}', a network of design {design.id}, is missing")
            odd = sorted(layers[name].symmetric_difference(assignment))
            if odd:
                where = "has no formats in" if odd[0] in layers[name] else "is no layer of tasks, but has formats in"
                raise InputError(f"layer '{odd[0]}' of {name} {where} the assignment of design {design.id}")


def load_front(folder: Path) -> Front:
    """Read front.json alone; raises InputError with one line if it is missing or invalid."""
    path = folder / FRONT
    if not path.exists():
        raise InputError(f"{folder}: no study here ({FRONT} is missing)")
    data = read_json(path)
    version = data.get("schema_version") if isinstance(data, dict) else type(data).__name__
    if version not in READ_VERSIONS:
        known = " or ".join(map(str, READ_VERSIONS))
        raise InputError(f"{path}: schema_version is {version}, expected {known}")
    if not isinstance(data.get("designs"), list) or not data["designs"]:
        raise InputError(f"{path}: key 'designs' holds no design")
    return checked(path, data, _FRONT)


def save_study(study: Study, space: str, tables: dict[str, str]) -> None:
    """Write a study's folder; raises EnvironmentProblem if it cannot be written.

    front.json is written last, so that its presence means that the study is complete. That of an earlier run is kept,
    see `earlier`, unless the new one has nothing else to say.

    Args:
        study: the results.
        space: text of the space file.
        tables: name -> text of further files.
    """
    _keep(study.folder, study.front)
    write_atomic(study.folder / SPACE, space)
    for name, text in tables.items():
        write_atomic(study.folder / name, text)
    write_atomic(study.folder / EXAMPLES, json.dumps(study.examples))
    write_atomic(study.folder / DETAILS, as_json(study.record))
    write_atomic(study.folder / FRONT, as_json(study.front))


def earlier(folder: Path) -> list[Path]:
    """The fronts of earlier runs of a study, oldest first: folders like a study's, without examples."""
    return sorted(front.parent for front in (folder / EARLIER).glob(f"*/{FRONT}"))


def _keep(folder: Path, front: Front) -> None:
    """Keep the front of the run before, unless `front` is the same; one that cannot be read is no loss."""
    try:
        before = json.loads((folder / FRONT).read_text(encoding="utf-8"))
        time = str(before["created"])[:19].replace(":", "")
    except (OSError, ValueError, KeyError, TypeError):
        return
    now = json.loads(as_json(front))
    if all(before.get(key) == now.get(key) for key in (before.keys() | now.keys()) - _OF_A_RUN):
        return
    target, number = folder / EARLIER / f"{time}Z", 1
    while (target / FRONT).exists():  # of a run that ended in the same second
        number += 1
        target = target.with_name(f"{time}Z-{number}")
    write_atomic(target / EXAMPLES, "{}")
    for name in (SPACE, DETAILS, FRONT):
        if (folder / name).exists():
            write_atomic(target / name, (folder / name).read_bytes())


def as_json(model: BaseModel) -> str:
    """JSON of a front or a record, without fields that are None."""
    return json.dumps(model.model_dump(mode="json", exclude_none=True), indent=1)
