"""Opening a storage: what is not a study's is refused in one line, and nothing in it changes."""

from __future__ import annotations

import socket
import sqlite3
import sys
from pathlib import Path

import optuna
import pytest

from codesign.cli import main
from codesign.errors import EnvironmentProblem, InputError
from codesign.search.queue import storage as storages
from codesign.search.queue.storage import open_storage
from tests import SPACE
from tests.storage.servers import PASSWORD, PostgreSQL


def refused(space: Path, storage: str, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """The one line that a search of `space` in this storage ends with."""
    code = main(["search", str(space), "--out", str(space.parent / "out"), "--storage", storage, *options])
    assert code in (2, 3)
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert PASSWORD not in said[0]
    return said[0]


def test_every_kind_of_storage_keeps_a_study(storage: str) -> None:
    kept = open_storage(storage)
    study = optuna.create_study(study_name="kept", storage=kept)
    study.set_user_attr("answer", 42)
    assert optuna.load_study(study_name="kept", storage=open_storage(storage)).user_attrs == {"answer": 42}


def test_a_corrupt_database_is_refused(space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "study.db"
    file.write_bytes(b"this is no database" * 100)
    before = file.read_bytes()
    assert "file is not a database" in refused(space, f"sqlite:///{file}", capsys)
    assert file.read_bytes() == before


def test_a_database_of_another_program_is_refused(
    space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "songs.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    connection.close()
    before = file.read_bytes()
    assert "something else (tables songs)" in refused(space, f"sqlite:///{file}", capsys)
    assert file.read_bytes() == before


@pytest.mark.parametrize("text", ["dear diary\n", "[1, 2]\n", '{"mood": "fine"}\n', "7\n"])
def test_a_file_that_is_no_journal_is_refused(
    space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    file = tmp_path / "diary.log"
    file.write_text(text)
    assert "not a journal of Optuna" in refused(space, str(file), capsys)
    assert file.read_text() == text


def test_a_study_of_another_program_is_refused(storage: str, space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = optuna.create_study(study_name="tiny", storage=open_storage(storage))
    study.set_user_attr("owner", "somebody")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    assert "was not made by codesign" in refused(space, storage, capsys)
    again = optuna.load_study(study_name="tiny", storage=open_storage(storage))
    assert (again.user_attrs, len(again.trials)) == ({"owner": "somebody"}, 2)


def test_a_study_of_another_space_is_refused(storage: str, space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", str(space), "--out", str(space.parent / "out"), "--storage", storage]) == 0
    capsys.readouterr()
    before = optuna.load_study(study_name="tiny", storage=open_storage(storage)).trials
    space.write_text(SPACE.replace("rows: [2, 4]", "rows: [2, 8]"))
    assert "made with another space (hardware.rows: [2, 4] before, [2, 8] now)" in refused(space, storage, capsys)
    assert optuna.load_study(study_name="tiny", storage=open_storage(storage)).trials == before


def test_a_server_that_is_not_there(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("psycopg", reason="codesign[postgresql] is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"postgresql://tests:{PASSWORD}@127.0.0.1:{free.getsockname()[1]}/study"
        said = refused(space, url, capsys)
    assert "tests:***@127.0.0.1" in said
    assert "refused" in said


def test_a_wrong_password(server: PostgreSQL, space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(space, server.url("postgres", password=f"not-{PASSWORD}"), capsys)
    assert "password authentication failed" in said


def test_a_proxy_that_is_not_there(
    space: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("grpc", reason="codesign[grpc] is not installed")
    monkeypatch.setattr(storages, "_ANSWER_S", 0.2)
    assert "no answer from 127.0.0.1:9" in refused(space, "grpc://127.0.0.1:9", capsys)


def test_a_driver_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(EnvironmentProblem, match=r"psycopg is not installed \(pip install 'codesign\[postgresql\]'\)"):
        open_storage("postgresql://tests@127.0.0.1/study")


def test_waiting_does_not_help_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    @storages.patient
    def full() -> None:
        calls.append(1)
        raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(EnvironmentProblem, match="disk is full"):
        full()
    assert len(calls) == 1


def test_a_storage_that_comes_back_is_waited_for() -> None:
    calls = []

    @storages.patient
    def away() -> str:
        calls.append(1)
        if len(calls) < 3:
            raise sqlite3.OperationalError("database is locked")
        return "back"

    assert away() == "back"


def test_a_mistake_is_no_failure_of_the_storage() -> None:
    @storages.patient
    def mistaken() -> None:
        raise InputError("not this")

    with pytest.raises(InputError, match="not this"):
        mistaken()
