"""Opening a storage: what is not a study's is refused in one line, and nothing in it changes."""

from __future__ import annotations

import shutil
import socket
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import sqlalchemy

from codesign.cli import main
from codesign.errors import EnvironmentProblem, InputError
from codesign.search import load_space, open_study
from codesign.search.queue import storage as storages
from codesign.search.queue.healing import heals
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


def test_a_study_of_another_program_without_attributes_is_refused(
    space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{space.parent / 'studies.db'}"
    study = optuna.create_study(study_name="tiny", storage=open_storage(url), directions=["minimize"] * 2)
    study.optimize(lambda trial: (trial.suggest_float("x", 0, 1), 0.0), n_trials=2)
    assert "was not made by codesign" in refused(space, url, capsys)
    again = optuna.load_study(study_name="tiny", storage=open_storage(url))
    assert (again.user_attrs, len(again.trials)) == ({}, 2)


@pytest.mark.slow
def test_a_study_whose_first_process_died_at_once_goes_on(space: Path) -> None:
    resolved, url = load_space(space), f"sqlite:///{space.parent / 'studies.db'}"
    study = optuna.create_study(study_name="tiny", storage=open_storage(url), directions=["minimize"] * 2)
    study.set_user_attr("space_hash", resolved.space_hash)
    assert open_study(resolved, space.parent / "out", storage=url).ledger.study.user_attrs["seed"] == "0"


def test_a_finished_study_is_one_complete_file(space: Path, tmp_path: Path) -> None:
    assert main(["search", str(space), "--out", str(tmp_path / "out")]) == 0
    logs = [file for file in (tmp_path / "out").iterdir() if file.name.startswith("study.db-")]
    assert sum(file.stat().st_size for file in logs if file.name.endswith("-wal")) == 0
    shutil.copy(tmp_path / "out" / "study.db", tmp_path / "copy.db")
    whole = optuna.load_study(study_name="tiny", storage=f"sqlite:///{tmp_path / 'out' / 'study.db'}")
    copy = optuna.load_study(study_name="tiny", storage=f"sqlite:///{tmp_path / 'copy.db'}")
    assert len(copy.trials) == len(whole.trials) > 0
    notes = [study._storage.get_study_system_attrs(study._study_id) for study in (copy, whole)]
    assert notes[0] == notes[1]  # for the dashboard


@pytest.mark.slow
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


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"])
def test_a_database_in_memory_is_refused(space: Path, capsys: pytest.CaptureFixture[str], url: str) -> None:
    assert "a database in memory ends with this process" in refused(space, url, capsys, "--workers", "2")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails what waits."""
    monkeypatch.setattr(storages.time, "sleep", lambda _: pytest.fail("it waits"))


def test_a_database_that_became_corrupt_is_not_waited_for(
    space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["search", str(space), "--out", str(tmp_path / "out")]) == 0
    capsys.readouterr()
    file = tmp_path / "out" / "study.db"
    content = bytearray(file.read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)  # behind the tables' names
    file.write_bytes(content)
    monkeypatch.setattr(storages.time, "sleep", lambda _: pytest.fail("it waits"))
    assert main(["search", str(space), "--out", str(tmp_path / "out")]) == 3
    assert "malformed" in capsys.readouterr().err.strip().splitlines()[-1]


def failures(tmp_path: Path) -> dict[str, Callable[[], object]]:
    """What cannot heal, as SQLite says it."""
    (tmp_path / "bad.db").write_bytes(b"this is no database" * 100)
    sqlite3.connect(tmp_path / "ro.db").close()
    read_only = f"{(tmp_path / 'ro.db').as_uri()}?mode=ro"
    return {
        "no database": lambda: sqlite3.connect(tmp_path / "bad.db").execute("SELECT 1 FROM x"),
        "read only": lambda: sqlite3.connect(read_only, uri=True).execute("CREATE TABLE x (y)"),
        "no file": lambda: sqlite3.connect(tmp_path / "nowhere" / "study.db"),
        "no table": lambda: sqlite3.connect(":memory:").execute("SELECT 1 FROM x"),
        "no folder": lambda: (tmp_path / "nowhere" / "study.journal").open("a"),
    }


@pytest.mark.parametrize("name", ["no database", "read only", "no file", "no table", "no folder"])
def test_what_cannot_heal_is_not_retried(quick: None, tmp_path: Path, name: str) -> None:
    calls: list[int] = []

    @storages.patient
    def failing() -> object:
        calls.append(1)
        return failures(tmp_path)[name]()

    with pytest.raises(EnvironmentProblem, match="the study's storage failed"):
        failing()
    assert len(calls) == 1


class Driver(Exception):
    """An error of a PostgreSQL driver."""

    def __init__(self, sqlstate: str | None) -> None:
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("sqlstate", "waits"),
    [
        ("57P01", True),  # the server shuts down
        ("57P03", True),  # it starts
        ("08006", True),  # the connection broke
        ("40001", True),  # a transaction has to be repeated
        ("53300", True),  # too many connections
        (None, True),  # no connection at all
        ("42501", False),  # the role may not write
        ("25006", False),  # a read-only transaction
        ("53100", False),  # the disk is full
        ("42P01", False),  # no such table
        ("XX001", False),  # the file is corrupt
    ],
)
def test_postgresql_is_waited_for_where_its_state_heals(sqlstate: str | None, waits: bool) -> None:
    error = sqlalchemy.exc.OperationalError("SELECT 1", {}, Driver(sqlstate))
    wrapped = optuna.exceptions.StorageInternalError("during the commit")
    wrapped.__cause__ = error
    assert heals(error) is heals(wrapped) is waits


@pytest.mark.slow
def test_a_role_that_may_only_read_is_refused_at_once(
    quick: None, server: PostgreSQL, space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = server.database()
    open_storage(url)
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER ROLE tests SET default_transaction_read_only = on")
    try:
        assert "read-only transaction" in refused(space, url, capsys)
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql("SET TRANSACTION READ WRITE")
            connection.exec_driver_sql("ALTER ROLE tests RESET default_transaction_read_only")
        engine.dispose()


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
