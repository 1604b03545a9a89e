"""Files that an option names: atomic where they are files, written into where they are not."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from codesign.errors import EnvironmentProblem, InputError
from codesign.files import (
    check_target,
    csv_text,
    empty_beside,
    make_folder,
    read_text,
    write_atomic,
    write_new,
    write_target,
)


def test_a_file_has_the_permissions_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "atomic", "a")
        write_target(tmp_path / "target", "a", "--csv")
    finally:
        os.umask(before)
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in ("atomic", "target")} == {0o640}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["atomic", "target"]


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    write_target(tmp_path / "link", "new", "--csv")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append((tmp_path / "pipe").read_text()))
    reader.start()
    write_target(tmp_path / "pipe", "a,b\n", "--csv")
    reader.join(10)
    assert found == ["a,b\n"]
    assert (tmp_path / "pipe").is_fifo()


def test_a_full_device_is_an_environment_problem() -> None:
    with pytest.raises(EnvironmentProblem, match="/dev/full: cannot be written"):
        write_target(Path("/dev/full"), "a", "--csv")
    assert not Path("/dev/full").is_file()


def test_no_folder_is_made_for_an_option(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--csv .*: there is no folder"):
        write_target(tmp_path / "no" / "where", "a", "--csv")
    with pytest.raises(InputError, match="is a folder, expected a file"):
        check_target(tmp_path, "--csv")
    check_target(None, "--csv")
    assert list(tmp_path.iterdir()) == []


def test_an_open_file_is_written_into_by_its_name_among_the_devices(tmp_path: Path) -> None:
    """/dev/stdout, where a shell has sent it to a file."""
    with (tmp_path / "file").open("w") as file:
        write_target(Path(f"/dev/fd/{file.fileno()}"), "a,b\n", "--csv")
        assert (tmp_path / "file").stat().st_ino == os.fstat(file.fileno()).st_ino
    assert (tmp_path / "file").read_text() == "a,b\n"


def test_folders_are_made_with_those_above_and_left_empty(tmp_path: Path) -> None:
    for _ in range(2):
        make_folder(tmp_path / "a" / "b")
        assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentProblem, match=r"file: cannot be written \(File exists\)"):
        make_folder(tmp_path / "file")
    if os.geteuid():  # root may write everywhere
        (tmp_path / "a").chmod(0o500)
        with pytest.raises(EnvironmentProblem, match="cannot be written"):
            make_folder(tmp_path / "a")
        (tmp_path / "a").chmod(0o700)


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    for text in ("one", b"two"):
        write_atomic(tmp_path / "a" / "b" / "file", text)
    assert [file.name for file in (tmp_path / "a" / "b").iterdir()] == ["file"]
    assert read_text(tmp_path / "a" / "b" / "file") == "two"


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\xff")
    for name, why in (("none", "no such file"), ("", "Is a directory"), ("bytes", "not a text file in UTF-8")):
        with pytest.raises(InputError, match=why):
            read_text(tmp_path / name)


def test_a_new_file_does_not_replace_one(tmp_path: Path) -> None:
    assert write_new(tmp_path / "file", "one")
    assert not write_new(tmp_path / "file", "two")
    assert (tmp_path / "file").read_text() == "one"
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        write_new(tmp_path / "no" / "where", "one")


def test_a_temporary_file_is_never_one_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda n: "ab" * n)
    first = empty_beside(tmp_path / "file")
    assert (first.parent, first.read_bytes()) == (tmp_path, b"")
    with pytest.raises(FileExistsError):
        empty_beside(tmp_path / "file")


def test_an_interruption_after_the_last_step_stays_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(source: Path, target: Path) -> None:
        os.replace(source, target)  # as Path.replace is patched
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "file", "text")
    assert (tmp_path / "file").read_text() == "text"


def test_columns_of_a_table_are_those_of_all_its_rows() -> None:
    assert csv_text([{"a": 1, "b": 2}, {"b": 3, "c": "x,y"}]) == 'a,b,c\r\n1,2,\r\n,3,"x,y"\r\n'
