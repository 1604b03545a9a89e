"""Notes and pictures of a study for optuna-dashboard, read back by optuna-dashboard."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta, upload_artifact
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from PIL import Image

from codesign import cli
from codesign.errors import InputError
from codesign.report import load_study, write_report
from codesign.report.dashboard import BOUNDARY, write_notes
from codesign.report.text import chip
from codesign.search.queue.storage import open_storage
from tests.report.synthetic import METRICS, OBJECTIVES, write_study
from tests.report.trials import FIRST, OTHER_CHIP, SPLIT, trials_of
from tests.search import SPACE
from tests.storage.servers import storage_kinds

dashboard = pytest.importorskip("optuna_dashboard", reason="codesign[dashboard] is not installed")


@pytest.fixture
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> BaseStorage:
    """A journal, or the kind that `every_storage` asks for."""
    kind = getattr(request, "param", "journal")
    server = request.getfixturevalue("server") if kind == "postgresql" else None
    return open_storage(storage_kinds(server)[kind](tmp_path))


every_storage = pytest.mark.parametrize(
    "storage", ["sqlite", "journal", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True
)


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study's folder with its report."""
    folder = write_study(tmp_path_factory.mktemp("reported") / "study")
    write_report(folder)
    return folder


@pytest.fixture
def folder(reported: Path, storage: BaseStorage, tmp_path: Path) -> Path:
    """A finished study's folder; its trials are in `storage`."""
    folder = Path(shutil.copytree(reported, tmp_path / "study"))
    study = optuna.create_study(study_name="synthetic", storage=storage, directions=["minimize"] * len(OBJECTIVES))
    for trial in trials_of(load_study(folder).front.designs):
        storage.create_new_trial(study._study_id, trial)
    return folder


def opened(storage: BaseStorage, name: str = "synthetic") -> optuna.Study:
    return optuna.load_study(study_name=name, storage=storage, sampler=optuna.samplers.RandomSampler())


def handle(study: optuna.Study, number: int) -> optuna.Trial:
    """The trial as `optuna_dashboard` takes it."""
    return optuna.Trial(study, study.trials[number]._trial_id)


def notes_of(storage: BaseStorage, name: str = "synthetic") -> list[str]:
    """The note of every trial."""
    study = opened(storage, name)
    return [dashboard.get_note(handle(study, trial.number)) for trial in study.trials]


def note_on(storage: BaseStorage) -> str:
    return str(dashboard.get_note(opened(storage)))


def everything(folder: Path, storage: BaseStorage) -> tuple[Any, Any]:
    attrs = dict(storage.get_study_system_attrs(opened(storage)._study_id))
    return attrs, {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in (folder / "artifacts").iterdir()}


# ---- what the notes say ----------------------------------------------------------------------


def test_every_reported_design_stands_in_the_note_of_its_trial(folder: Path, storage: BaseStorage) -> None:
    write_notes(folder, storage)
    notes = notes_of(storage)
    for design, note in zip(load_study(folder).front.designs[:SPLIT], notes[FIRST : FIRST + SPLIT], strict=True):
        (section,) = (part for part in note.split("\n## ") if part.startswith(f"`{design.id}`"))
        first, rest = chip(design.accelerator).split("; ", 1)
        assert f"  - {first}\n  - {rest}\n" in section
        assert f"| {design.objectives['area_mm2']:.4g} mm2 |" in section
        for task, quality in design.quality.items():
            interval = f"(95 %: {quality.low:.4g} to {quality.high:.4g}, n 32)"
            assert f"- {task}: {METRICS[task][0][0]} {quality.value:.4g} {quality.unit} {interval}\n" in section
            for pair, count in design.pairs(task).items():
                assert f"{count} x {pair}" in section


def test_trials_that_no_design_stands_on_have_no_note(folder: Path, storage: BaseStorage) -> None:
    """Of another program, given up on a part of the samples, with only one network of a design, waiting, ..."""
    write_notes(folder, storage)
    notes = notes_of(storage)
    assert [number for number, note in enumerate(notes) if not note] == [*range(FIRST), len(notes) - 1]


def test_a_design_of_two_trials_stands_in_both_notes_and_each_links_the_other(
    folder: Path, storage: BaseStorage
) -> None:
    write_notes(folder, storage)
    notes, study_id = notes_of(storage), opened(storage)._study_id
    first, second = FIRST + SPLIT, FIRST + SPLIT + 1
    for design in load_study(folder).front.designs[SPLIT:]:
        assert f"## `{design.id}`" in notes[first]
        assert f"## `{design.id}`" in notes[second]
    assert f", measured by [trial {second}](/dashboard/studies/{study_id}/trials?numbers={second})" in notes[first]
    assert f", measured by [trial {first}](/dashboard/studies/{study_id}/trials?numbers={first})" in notes[second]


def test_the_note_says_whether_the_accelerator_is_the_trials(folder: Path, storage: BaseStorage) -> None:
    write_notes(folder, storage)
    whose = [re.findall(r"- accelerator, (.*):", note) for note in notes_of(storage)[FIRST : FIRST + SPLIT]]
    assert whose == [["not this trial's" if i == OTHER_CHIP else "this trial's"] for i in range(SPLIT)]


def test_the_study_says_what_it_found_and_which_trial_measured_each_design(folder: Path, storage: BaseStorage) -> None:
    write_notes(folder, storage)
    note, files = note_on(storage), load_study(folder)
    assert "Hypervolume 1.234 after 160 evaluations" in note
    assert f"`{files.record.chosen}`, balanced" in note
    assert str(folder.resolve() / "front.json") in note
    for name, _ in OBJECTIVES:
        assert f"| {name} |" in note
    for number, design in enumerate(files.front.designs[:SPLIT], FIRST):
        (row,) = (line for line in note.splitlines() if line.startswith(f"| `{design.id}`"))
        assert f"[trial {number}]" in row


def test_examples_are_what_they_are_and_not_markdown(folder: Path, storage: BaseStorage) -> None:
    examples = json.loads((folder / "examples.json").read_text())
    chosen = load_study(folder).record.chosen
    examples["rewrite"][chosen][0]["text"] = "$5 *now* <b>or</b>\n| never"
    (folder / "examples.json").write_text(json.dumps(examples))
    write_notes(folder, storage)
    assert f"  - {chosen}: \\$5 \\*now\\* \\<b\\>or\\</b\\> \\| never\n" in "".join(notes_of(storage))


# ---- pictures --------------------------------------------------------------------------------


def test_the_pictures_of_the_balanced_and_the_worst_design_are_linked_from_their_notes(
    folder: Path, storage: BaseStorage
) -> None:
    assert write_notes(folder, storage) == folder / "artifacts"
    notes, files = notes_of(storage), load_study(folder)
    names = {meta.artifact_id: meta.filename for meta in get_all_artifact_meta(opened(storage))}
    for role in ("chosen", "worst"):
        (note,) = (note for note in notes if f"## `{getattr(files.record, role)}`" in note)
        ((identifier,),) = [re.findall(r"!\[restore: [^]]*\]\(/artifacts/\d+/([0-9a-f-]+)\)", note)]
        assert names[identifier] == f"{role}.restore.png"
        with Image.open(folder / "artifacts" / identifier) as picture:
            assert picture.format == "PNG"
            assert picture.width > 4 * 16
    assert sum("![" in note for note in notes) == 2


def test_the_report_is_an_artifact_that_the_study_links(folder: Path, storage: BaseStorage) -> None:
    write_notes(folder, storage)
    ((identifier,),) = [re.findall(r"\[report\.html\]\(/artifacts/\d+/([0-9a-f-]+)\)", note_on(storage))]
    assert (folder / "artifacts" / identifier).read_bytes() == (folder / "report.html").read_bytes()


@pytest.mark.slow
@every_storage
def test_artifacts_are_described_as_optuna_describes_them(folder: Path, storage: BaseStorage) -> None:
    write_notes(folder, storage)
    study = opened(storage)
    ours = {meta.filename: meta for meta in get_all_artifact_meta(study)}
    theirs = FileSystemArtifactStore(folder / "artifacts")
    identifier = upload_artifact(artifact_store=theirs, file_path=str(folder / "report.html"), study_or_trial=study)
    attrs = storage.get_study_system_attrs(study._study_id)
    mine = attrs[f"artifacts:{ours['report.html'].artifact_id}"]
    assert mine.replace(ours["report.html"].artifact_id, identifier) == attrs[f"artifacts:{identifier}"]


# ---- again -----------------------------------------------------------------------------------


@every_storage
def test_writing_again_changes_nothing(folder: Path, storage: BaseStorage) -> None:
    write_notes(folder, storage)
    before = everything(folder, storage)
    write_notes(folder, storage)
    assert everything(folder, storage) == before


@every_storage
def test_a_folder_of_artifacts_that_is_gone_is_made_again(folder: Path, storage: BaseStorage) -> None:
    write_notes(folder, storage)
    attrs, files = everything(folder, storage)
    shutil.rmtree(folder / "artifacts")
    write_notes(folder, storage)
    again = everything(folder, storage)
    assert again[0] == attrs
    assert {k: v[0] for k, v in again[1].items()} == {k: v[0] for k, v in files.items()}


@pytest.mark.slow
@every_storage
def test_a_writing_that_is_cut_short_again_and_again_ends_as_one_that_is_not(
    folder: Path, storage: BaseStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three attributes a life; of two states of the front, and one note has a person's words."""
    write = type(storage).set_study_system_attr
    study, front = opened(storage), json.loads((folder / "front.json").read_text())
    dashboard.save_note(handle(study, FIRST), "Ana: look at this one")

    def lives() -> int:
        for life in itertools.count():
            left = iter(range(3))

            def mortal(*arguments: Any, left: Iterator[int] = left) -> None:
                if next(left, None) is None:
                    raise KeyboardInterrupt
                write(storage, *arguments)

            with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
                patch.setattr(storage, "set_study_system_attr", mortal)
                write_notes(folder, storage)
                return life
        raise AssertionError

    for designs in (front["designs"], front["designs"][SPLIT:] + front["designs"][3:SPLIT]):
        (folder / "front.json").write_text(json.dumps(front | {"designs": designs}))
        assert lives() > 5
        first, *others = notes_of(storage)[FIRST:-1]
        assert first.strip().endswith("Ana: look at this one")
        assert all(note.endswith(f"{BOUNDARY}\n") and note.count(BOUNDARY) == 1 for note in others if note)
        assert set(re.findall(r"## `(\w+)`", "".join([first, *others]))) == {d["id"] for d in designs}
        assert note_on(storage).count("## Files") == note_on(storage).count(BOUNDARY) == 1


@every_storage
def test_a_storage_that_is_away_for_a_moment_is_waited_for(
    folder: Path, storage: BaseStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is lost, the deed is done."""
    write, failures = type(storage).set_study_system_attr, iter([True, False, True])

    def flaky(*arguments: Any) -> None:
        write(storage, *arguments)
        if next(failures, False):
            raise StorageInternalError("away")

    monkeypatch.setattr(storage, "set_study_system_attr", flaky)
    write_notes(folder, storage)
    assert len(get_all_artifact_meta(opened(storage))) == 3
    assert all(notes_of(storage)[FIRST:-1])


@every_storage
def test_a_design_that_is_reported_no_more_leaves_the_notes(folder: Path, storage: BaseStorage) -> None:
    write_notes(folder, storage)
    front = json.loads((folder / "front.json").read_text())
    (folder / "front.json").write_text(json.dumps(front | {"designs": front["designs"][1:]}))
    write_notes(folder, storage)
    assert notes_of(storage)[FIRST] == ""
    assert all(notes_of(storage)[FIRST + 1 : -1])


@every_storage
def test_what_a_person_wrote_stays(folder: Path, storage: BaseStorage) -> None:
    """In a note before codesign wrote into it, below one, and where the design is reported no more."""
    study = opened(storage)
    dashboard.save_note(handle(study, FIRST + 1), "Ana: look at this one")
    write_notes(folder, storage)
    dashboard.save_note(handle(study, FIRST), notes_of(storage)[FIRST] + "\nBen: and at this one, " + "x" * 3000)
    front = json.loads((folder / "front.json").read_text())
    for designs in (front["designs"], front["designs"][2:]):
        (folder / "front.json").write_text(json.dumps(front | {"designs": designs}))
        write_notes(folder, storage)
        notes = notes_of(storage)
        assert notes[FIRST + 1].strip().endswith("Ana: look at this one")
        assert notes[FIRST].strip().endswith("x" * 3000)
    assert notes[FIRST + 1] == "Ana: look at this one"


# ---- the layout ------------------------------------------------------------------------------


@every_storage
def test_notes_are_written_as_optuna_dashboard_writes_them(folder: Path, storage: BaseStorage) -> None:
    """A long note and then a short one, of the study and of a trial."""
    write_notes(folder, storage)
    first = note_on(storage), notes_of(storage)[FIRST + SPLIT]
    front = json.loads((folder / "front.json").read_text())
    (folder / "front.json").write_text(json.dumps(front | {"designs": front["designs"][4:11]}))
    write_notes(folder, storage)
    second = note_on(storage), notes_of(storage)[FIRST + SPLIT]
    assert len(first[0]) > 2045 > len(second[1])
    other = optuna.create_study(study_name="other", storage=storage, directions=["minimize"] * len(OBJECTIVES))
    trial = other.ask()
    for text in (first, second):
        dashboard.save_note(other, text[0])
        dashboard.save_note(trial, text[1])

    def written(study: optuna.Study, trial_id: int) -> dict[str, Any]:
        attrs = storage.get_study_system_attrs(study._study_id)
        found = {k.replace(f":{trial_id}:", ":trial:"): v for k, v in attrs.items()}
        return {k: v for k, v in found.items() if re.fullmatch(r"dashboard:(trial:)?note_(ver|str:\d+)", k)}

    study = opened(storage)
    assert written(study, study.trials[FIRST + SPLIT]._trial_id) == written(other, trial._trial_id)


def test_a_storage_without_the_study_is_said_to_be_one(folder: Path, tmp_path: Path) -> None:
    empty = open_storage(f"sqlite:///{tmp_path}/empty.db")
    with pytest.raises(InputError, match=r"^no study 'synthetic' in this storage$"):
        write_notes(folder, empty)
    optuna.create_study(study_name="synthetic", storage=empty, directions=["minimize"] * len(OBJECTIVES))
    with pytest.raises(InputError, match="no trial of this storage measured restore as design d00000000 has it"):
        write_notes(folder, empty)


# ---- the dashboard ---------------------------------------------------------------------------


@pytest.fixture
def ask(folder: Path, storage: BaseStorage) -> Callable[[str], tuple[str, bytes]]:
    """Status and content of an address of the dashboard, started as its command line starts it."""
    store = FileSystemArtifactStore(write_notes(folder, storage))
    app = dashboard.wsgi(storage, artifact_store=store)

    def answer(path: str) -> tuple[str, bytes]:
        environ: dict[str, Any] = {"PATH_INFO": path, "wsgi.input": io.BytesIO()}
        setup_testing_defaults(environ)
        status: list[str] = []
        body = b"".join(app(environ, lambda code, _headers, _error=None: status.append(code)))
        return status[0], body

    return answer


@pytest.mark.slow
@every_storage
def test_the_dashboard_serves_notes_pictures_and_report(
    ask: Callable[[str], tuple[str, bytes]], storage: BaseStorage, folder: Path
) -> None:
    status, body = ask(f"/api/studies/{opened(storage)._study_id}")
    found = json.loads(body)
    assert status.startswith("200")
    assert found["note"]["body"] == note_on(storage)
    assert [trial["note"]["body"] for trial in found["trials"]] == notes_of(storage)
    texts = [found["note"]["body"], *(trial["note"]["body"] for trial in found["trials"])]
    addresses = {address for text in texts for address in re.findall(r"\((/artifacts/[^)]*)\)", text)}
    assert len(addresses) == 3
    answers = {ask(address) for address in addresses}
    assert {status for status, _ in answers} == {"200 OK"}
    assert sum(body.startswith(b"\x89PNG") for _, body in answers) == 2
    assert (folder / "report.html").read_bytes() in {body for _, body in answers}


@pytest.mark.slow
def test_the_search_writes_notes_and_the_dashboard_names_its_objectives(tmp_path: Path) -> None:
    """On the command line, twice: the second time it only goes on."""
    (tmp_path / "tiny.yaml").write_text(SPACE.replace("evaluations: 14", "evaluations: 5"))
    command = ["search", str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / "study"), "--json"]
    assert cli.main(command) == 0
    storage = open_storage(f"sqlite:///{tmp_path}/study/study.db")
    notes = notes_of(storage, "tiny")
    for design in load_study(tmp_path / "study").front:
        assert sum(f"## `{design.id}`" in text for text in notes) == 1
    assert cli.main(command) == 0
    assert notes_of(storage, "tiny") == notes
    assert dashboard.get_note(opened(storage, "tiny")).count(BOUNDARY) == 1
    app = dashboard.wsgi(storage)
    environ: dict[str, Any] = {"PATH_INFO": "/api/studies/1"}
    setup_testing_defaults(environ)
    served = json.loads(b"".join(app(environ, lambda *_: None)))
    assert served["objective_names"] == ["tiny.quality", "area_mm2", "tiny.latency_s"]
