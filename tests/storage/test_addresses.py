"""URLs of storages as people write them: no message shows a part of a password, and paths may hold any character."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import optuna
import pytest

from codesign.cli import main
from codesign.errors import EnvironmentProblem, InputError
from codesign.hidden import hidden
from codesign.search.queue import storage as storages
from codesign.search.queue.addresses import proxy, without_password
from codesign.search.queue.storage import default_storage, open_storage

SHOWN = {
    "postgresql://me:secret@host/db": "postgresql://me:***@host/db",
    "postgresql://me:s%40cr%2Fet@host/db": "postgresql://me:***@host/db",
    "postgresql://me:s@cr@host/db": "postgresql://me:***@host/db",
    "postgresql://me:s#c/r:e?t@host/db": "postgresql://me:***@host/db",
    "postgresql://:secret@/db": "postgresql://:***@/db",
    "postgresql://me@host:5432/db": "postgresql://me@host:5432/db",
    "postgresql://me:secret@[::1]:5432/db": "postgresql://me:***@[::1]:5432/db",
    "postgresql://me@host/db?password=secret": "postgresql://me@host/db?password=***",
    "postgresql://me@host/db?password=s%40c#r@et": "postgresql://me@host/db?password=***",
    "postgresql://me@host/db?password=s&cret": "postgresql://me@host/db?password=***&***",
    "postgresql://me@host/db?password=s&cr=et": "postgresql://me@host/db?password=***&***",
    "postgresql://me@host/db?sslmode=require&sslpassword=secret": (
        "postgresql://me@host/db?sslmode=require&sslpassword=***"
    ),
    "postgresql://me@host/db?options=-csecret": "postgresql://me@host/db?***",
    "postgresql://me:s?x=e@host/db": "postgresql://me:***",
    "postgresql://host:5432/db?password=s@cret": "postgresql://host:***",
    "postgresql://host/db?password=s@cret": "postgresql://host/db?password=***",
    "me:secret@host": "me:***@host",
    "sqlite:///a:b@c.db": "sqlite:///a:b@c.db",
    "sqlite+pysqlcipher://:secret@/kept.db?cipher=aes": "sqlite+pysqlcipher://:***@/kept.db?***",
    "grpc://localhost:13000": "grpc://localhost:13000",
    "studies.log": "studies.log",
}


@pytest.mark.parametrize("url", SHOWN)
def test_every_part_that_may_be_a_password_is_masked(url: str) -> None:
    assert without_password(url) == SHOWN[url]


SECRET = "t0p-s@cr#t/w:rd%1"
ENCODED = "t0p-s%40cr%23t%2Fw%3Ard%251"
WRITTEN = {
    "encoded": f"postgresql://me:{ENCODED}@127.0.0.1:9/db",
    "in the query": f"postgresql://me@127.0.0.1:9/db?password={ENCODED}",
    "as sslpassword": f"postgresql://me@127.0.0.1:9/db?sslpassword={ENCODED}",
    "not encoded in the query": f"postgresql://me@127.0.0.1:9/db?password={SECRET}",
    "not encoded": f"postgresql://me:{SECRET}@127.0.0.1:9/db",
    "of an unknown kind": f"postgrsql://me:{ENCODED}@127.0.0.1:9/db",
    "with a port that is none": f"postgresql://me:{ENCODED}@127.0.0.1:port/db",
    "without a kind": f"me:{SECRET}@127.0.0.1",
    "at a proxy": f"grpc://me:{SECRET}@127.0.0.1:9",
}


@pytest.mark.parametrize("how", WRITTEN)
def test_no_piece_of_a_password_is_printed(
    how: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def driver(*_: object) -> None:  # as a driver that repeats what it was given
        raise sqlite3.OperationalError(f'connection failed: password "{SECRET}" ({ENCODED}) is wrong')

    monkeypatch.setattr(storages, "_refuse_foreign_database", driver)
    assert main(["worker", "--study", "none", "--storage", WRITTEN[how]]) in (2, 3)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("codesign: error: storage ")
    assert "***" in said
    for piece in (SECRET, ENCODED, "t0p", "cr#t", "cr%23t", "w:rd", "rd%1"):
        assert piece not in said


def test_a_driver_that_repeats_a_password_later_is_masked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storages, "PATIENCE_S", 0.0)
    with pytest.raises(EnvironmentProblem):
        open_storage("sqlite+pysqlcipher://:l4ter@/none/kept.db")

    @storages.patient
    def away() -> None:
        raise sqlite3.OperationalError("cannot log in with l4ter")

    with pytest.raises(EnvironmentProblem, match=r"cannot log in with \*\*\*"):
        away()


def test_a_short_password_is_masked_where_it_stands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codesign.hidden._words", {"ab"})
    assert hidden("about ab, 'ab' and cab") == "about ***, '***' and cab"


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("grpc://[::1]:13123", ("[::1]", 13123)),
        ("grpc://[fe80::1]", ("[fe80::1]", 13000)),
        ("grpc://localhost:13123/", ("localhost", 13123)),
        ("grpc://host.example", ("host.example", 13000)),
    ],
)
def test_the_address_of_a_proxy(url: str, place: tuple[str, int]) -> None:
    assert proxy(url) == place


@pytest.mark.parametrize("url", ["grpc://::1:13000", "grpc://localhost:abc", "grpc://", "grpc://host:70000"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InputError, match=r"expected grpc://HOST:PORT, an IPv6 address in brackets"):
        open_storage(url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgrsql://me@host/db", "unknown kind 'postgrsql'; did you mean 'postgresql'?"),
        ("sqllite:///a.db", "unknown kind 'sqllite'; did you mean 'sqlite'?"),
        ("redis://127.0.0.1:6379", "unknown kind 'redis'"),
        ("http://localhost:80", "unknown kind 'http'"),
        ("postgresql+nosuch://me@host/db", "unknown driver 'nosuch' of postgresql: write postgresql:// alone"),
        ("postgresql+asyncpg://me@host/db", "'asyncpg' is an asynchronous driver: write postgresql:// alone"),
        ("postgresql://me@host:port/db", "the port a number"),
        ("study.db", "expected a URL such as sqlite:///FILE"),
        ("", "expected a URL such as sqlite:///FILE"),
        ("sqlite:///what?/study.db", "write %3F for it"),
    ],
)
def test_a_url_that_names_no_storage_is_refused(url: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        open_storage(url)
    assert message in str(refused.value)
    assert str(refused.value).startswith(f"storage {url}: ")


@pytest.mark.parametrize("name", ["50%20", "what?", "a#b", "two words", "größe 東京", "{x}", "it's", "a&b=c", "100%"])
def test_a_folder_of_any_name_holds_its_database(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    study = optuna.create_study(study_name="kept", storage=open_storage(default_storage(folder)))
    study.set_user_attr("answer", 42)
    again = optuna.load_study(study_name="kept", storage=open_storage(default_storage(folder)))
    assert again.user_attrs == {"answer": 42}
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (folder / "study.db").exists()


@pytest.mark.long
@pytest.mark.slow
def test_a_search_in_a_folder_of_an_odd_name_stays_inside_it(space: Path, tmp_path: Path) -> None:
    folder = tmp_path / "odd" / "50%20 what? #{1} ü"
    assert main(["search", str(space), "--out", str(folder), "--workers", "2"]) == 0
    assert (folder / "study.db").exists()
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_name_too_long_for_a_database_is_refused_by_validate(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space.write_text(space.read_text().replace("name: tiny", f"name: {'n' * 600}"))
    assert main(["validate", str(space)]) == 2
    said = capsys.readouterr().err
    assert "name: " in said
    assert "512 characters" in said
    assert len(said) < 300
