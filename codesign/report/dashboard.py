"""What optuna-dashboard shows of a finished study: notes of the study and of its trials, pictures, the report.

A note is a few system attributes of the study: ``dashboard:note_ver`` counts its versions, ``dashboard:note_str:0``,
``:1``, ... hold pieces of its text; a trial's have its id after ``dashboard:``. An artifact is a file called by its id
in a folder, and an attribute ``artifacts:ID`` that describes it. Both are written here as `optuna_dashboard.save_note`
and `optuna.artifacts.upload_artifact` write them (0.21.0 and 5.0.0; tests compare), and not by them, because

- a study is often searched where no dashboard is installed, and looked at from another machine;
- `save_note` takes a running trial, and to make one of a finished trial asks the study's sampler;
- `upload_artifact` draws a new id each time, so that what is written again, after a lost answer or by the study's next
  run, would be there twice. Here an id follows from a name, and what is there already is left alone.

Databases hold this layout, so that later dashboards have to read it. Only attributes of the study are set, as a
finished trial takes none.
"""

from __future__ import annotations

import itertools
import json
import mimetypes
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from codesign.designs import Study, load_study
from codesign.errors import InputError
from codesign.files import read_text, write_atomic
from codesign.report.notes import Book, measured_on, study_note, trial_note
from codesign.report.pictures import sheet
from codesign.search.queue.storage import patient

FOLDER = "artifacts"
BOUNDARY = "*codesign writes what stands above; what is written below stays.*"
_PIECE = 2045  # characters of a note in one attribute
_NOTED = re.compile(r"dashboard:(\d+):note_ver")


def write_notes(folder: Path, storage: BaseStorage) -> Path:
    """Write the notes of a study folder's reported designs into `storage`, its pictures and report below `folder`.

    Returns the folder of the artifacts. What a person wrote below a note, or into one that was not codesign's, stays;
    the note of a trial that no reported design needs any more loses the rest. Writing again what is there changes
    nothing.

    Raises InputError where the folder holds no study or the storage another one, EnvironmentProblem where one of them
    cannot be written.
    """
    files = load_study(folder)
    store = _DashboardStore(storage, str(files.front.study), folder / FOLDER)
    places = measured_on(files, store.trials())
    report = store.put("report.html", read_text(folder / "report.html"))
    book = Book(files, places, store.study_id, store.folder, report, dict(_pictures(files, store)))
    notes = dict.fromkeys(store.noted(), "")
    notes |= {trial._trial_id: trial_note(book, trial) for trial in book.trials()}
    for trial_id, text in notes.items():
        store.note(trial_id, text)
    store.note(None, study_note(book))
    return store.folder


def _pictures(files: Study, store: _DashboardStore) -> Iterator[tuple[tuple[str, str], str]]:
    """(design, task) -> address of its pictures beside the float network's.

    They are called by the design's role, so that those of another design take their place.
    """
    for role, design in (("worst", files.record.worst), ("chosen", files.record.chosen)):
        for task, shown in files.examples.items():
            if design is not None and "png" in shown[design][0]:
                wanted = {k: shown[k] for k in ("input", "float", design, "truth") if k in shown}
                yield (design, task), store.put(f"{role}.{task}.png", sheet(wanted))


class _DashboardStore:
    """The attributes of one study, as they were read last, and its folder of artifacts."""

    def __init__(self, storage: BaseStorage, study: str, folder: Path) -> None:
        self._storage = storage
        self._study = study
        self.folder = folder
        self.study_id, self._attributes = self._opened()

    @patient
    def _opened(self) -> tuple[int, dict[str, Any]]:
        try:
            study_id = int(self._storage.get_study_id_from_name(self._study))
        except KeyError:
            raise InputError(f"no study '{self._study}' in this storage") from None
        return study_id, dict(self._storage.get_study_system_attrs(study_id))

    @patient
    def trials(self) -> list[FrozenTrial]:
        return list(self._storage.get_all_trials(self.study_id, deepcopy=False))

    @patient
    def _set(self, key: str, value: int | str | None) -> None:
        if self._attributes.get(key) != value:
            self._storage.set_study_system_attr(self.study_id, key, value)
            self._attributes[key] = value

    def put(self, name: str, content: str | bytes) -> str:
        """Keep a file as an artifact of the study; returns its address in the dashboard."""
        identifier = str(uuid.uuid5(uuid.NAMESPACE_URL, f"codesign:{self._study}/{name}"))
        path, data = self.folder / identifier, content.encode() if isinstance(content, str) else content
        if not path.exists() or path.read_bytes() != data:
            write_atomic(path, data)
        mimetype, encoding = mimetypes.guess_type(name)
        meta = {"artifact_id": identifier, "filename": name, "mimetype": mimetype, "encoding": encoding}
        self._set(f"artifacts:{identifier}", json.dumps(meta))
        return f"/artifacts/{self.study_id}/{identifier}"

    def noted(self) -> set[int]:
        """Ids of the trials in whose notes codesign wrote, or began to."""
        found = {int(match[1]) for match in map(_NOTED.fullmatch, self._attributes) if match}
        return {i for i in found if BOUNDARY in self._text(_prefix(i)) or self._attributes.get(_begun(i)) is not None}

    def note(self, trial_id: int | None, text: str) -> None:
        """Make `text` the part of a note that is codesign's; of the study, or of a trial.

        A note is several attributes: until all are written, one more keeps what a person wrote there.
        """
        prefix, begun = _prefix(trial_id), _begun(trial_id)
        before, theirs = self._text(prefix), self._attributes.get(begun)
        if theirs is None:
            theirs = (before.partition(BOUNDARY)[2] if BOUNDARY in before else before).strip()
            if _bounded(text, theirs) == before:
                return
        self._set(begun, theirs)
        self._set(f"{prefix}note_ver", int(self._attributes.get(f"{prefix}note_ver", 0)) + 1)
        self._write(prefix, _bounded(text, theirs))
        self._set(begun, None)

    def _text(self, prefix: str) -> str:
        keys = (f"{prefix}note_str:{i}" for i in itertools.count())
        return "".join(str(self._attributes[key]) for key in itertools.takewhile(self._attributes.__contains__, keys))

    def _write(self, prefix: str, body: str) -> None:
        """Set the pieces of a note, and empty those that it had more."""
        for i in itertools.count():
            key, piece = f"{prefix}note_str:{i}", body[i * _PIECE : (i + 1) * _PIECE]
            if not piece and key not in self._attributes:
                return
            self._set(key, piece)


def _prefix(trial_id: int | None) -> str:
    return "dashboard:" if trial_id is None else f"dashboard:{trial_id}:"


def _begun(trial_id: int | None) -> str:
    return f"codesign:{_prefix(trial_id)}note"


def _bounded(text: str, theirs: str) -> str:
    """A note with `text` above the boundary and what a person wrote below it."""
    if not text:
        return theirs
    return f"{text}\n\n---\n{BOUNDARY}\n" + (f"\n{theirs}\n" if theirs else "")
