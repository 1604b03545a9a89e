"""Files that an option names: atomic where they are files, written into where they are not."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from codesign.errors import EnvironmentProblem, InputError
from codesign.files import check_target, write_atomic, write_target


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
