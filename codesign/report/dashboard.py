"""Notes and artifacts for optuna-dashboard: notes of the study and of its trials, pictures, and the report.

A note consists of system attributes of the study: ``dashboard:note_ver`` counts its versions, ``dashboard:note_str:0``,
``:1``, ... hold chunks of its text; those of a trial have its id after ``dashboard:``. An artifact is a file in a
folder, named by its id, with an attribute ``artifacts:ID`` that describes it. Both are written here in the layout of
`optuna_dashboard.save_note` and `optuna.artifacts.upload_artifact` (0.21.0 and 5.0.0; tests compare), without calling
them, because

- a study is often run where no dashboard is installed, and viewed from another machine;
- `save_note` takes a running trial, and constructing one from a finished trial calls the study's sampler;
- `upload_artifact` draws a new id each time, so that writing again, after a lost answer or when the study is resumed,
  would create a duplicate. Here the id is derived from the name, and existing content is left alone.

Databases store this layout, so that later dashboards must read it. Only attributes of the study are set, as those of
finished trials are immutable.
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
_PIECE = 2045  # characters of a note per attribute
_NOTED = re.compile(r"dashboard:(\d+):note_ver")


def write_notes(folder: Path, storage: BaseStorage) -> Path:
    """Write notes on the reported designs of a study into `storage`, and its pictures and report as artifacts.

    Text that a user wrote below a note, or in a note of their own, is kept. The note of a trial that no reported design
    refers to any more is removed, except for that text. The function is idempotent.

    Args:
        folder: the study's folder.
        storage: the storage of the study.
    Returns:
        The folder of the artifacts, below `folder`.
    Raises:
        InputError: the folder holds no study, or the storage holds another one.
        EnvironmentProblem: folder or storage cannot be written.
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
    """Pairs of (design, task) and the URL of its pictures next to the float network's.

    The files are named by the design's role, so that those of a later design replace them.
    """
    for role, design in (("worst", files.record.worst), ("chosen", files.record.chosen)):
        for task, shown in files.examples.items():
            if design is not None and "png" in shown[design][0]:
                wanted = {k: shown[k] for k in ("input", "float", design, "truth") if k in shown}
                yield (design, task), store.put(f"{role}.{task}.png", sheet(wanted))


class _DashboardStore:
    """The system attributes of one study, as last read, and its folder of artifacts."""

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
        """Store a file as an artifact of the study; returns its URL in the dashboard."""
        identifier = str(uuid.uuid5(uuid.NAMESPACE_URL, f"codesign:{self._study}/{name}"))
        path, data = self.folder / identifier, content.encode() if isinstance(content, str) else content
        if not path.exists() or path.read_bytes() != data:
            write_atomic(path, data)
        mimetype, encoding = mimetypes.guess_type(name)
        meta = {"artifact_id": identifier, "filename": name, "mimetype": mimetype, "encoding": encoding}
        self._set(f"artifacts:{identifier}", json.dumps(meta))
        return f"/artifacts/{self.study_id}/{identifier}"

    def noted(self) -> set[int]:
        """Ids of the trials whose notes codesign has written, or started to write."""
        found = {int(match[1]) for match in map(_NOTED.fullmatch, self._attributes) if match}
        return {i for i in found if BOUNDARY in self._text(_prefix(i)) or self._attributes.get(_begun(i)) is not None}

    def note(self, trial_id: int | None, text: str) -> None:
        """Set codesign's section of a note, of the study (None) or of a trial.

        A note spans several attributes. Until all are written, a further attribute holds the user's section, so that
        it survives an interruption.
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
        """Set the chunks of a note, and clear chunks that it no longer needs."""
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
    """A note with `text` above the boundary, and the user's section below it."""
    if not text:
        return theirs
    return f"{text}\n\n---\n{BOUNDARY}\n" + (f"\n{theirs}\n" if theirs else "")
