"""Whose folder it is: nothing that a study did not write is overwritten."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from codesign.cli import main
from codesign.errors import InputError
from codesign.files import write_atomic
from codesign.search import load_space, open_study
from codesign.search.study.claim import CLAIM
from tests import SPACE

SWEEP = """
name: sweep
tasks: {text: {workload: clip-l-text, formats: int8}}
hardware: {units: {sets: [[int8]]}, rows: [8, 16], columns: [8], sram_kib: [1024]}
objectives: [text.latency_s, area_mm2]
"""


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line in which a search is refused."""
    assert main(["search", *map(str, arguments)]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    return said[0]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("done")
    (folder / "space.yaml").write_text(SPACE)
    assert main(["search", str(folder / "space.yaml"), "--out", str(folder / "out")]) == 0
    return folder


@pytest.fixture
def out(done: Path, tmp_path: Path) -> Path:
    """The folder of a finished study."""
    shutil.copytree(done / "out", tmp_path / "out")
    return tmp_path / "out"


def test_a_folder_with_other_files_is_refused_and_stays(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, space, "--out", space.parent)
    assert f"{space.parent}: holds other files (space.yaml) and no study; give a new folder" in said
    assert [each.name for each in space.parent.iterdir()] == ["space.yaml"]


def test_the_working_folder_is_no_study(
    space: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(space.parent)
    assert "holds other files" in refused(capsys, space, "--out", ".")
    with pytest.raises(SystemExit) as ended:
        main(["search", str(space), "--out", ""])
    assert ended.value.code == 2
    assert "expected a folder, not an empty name" in capsys.readouterr().err
    assert [each.name for each in space.parent.iterdir()] == ["space.yaml"]


def test_a_file_as_folder(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is no folder" in refused(capsys, space, "--out", space)
    assert space.read_text() == SPACE


@pytest.mark.parametrize("claimed", [True, False])  # older studies have no claim
def test_another_study_is_not_overwritten(
    out: Path, space: Path, capsys: pytest.CaptureFixture[str], claimed: bool
) -> None:
    if not claimed:
        (out / CLAIM).unlink()

    def written() -> dict[str, int]:
        return {file.name: file.stat().st_mtime_ns for file in out.iterdir() if not file.name.startswith("study.db-")}

    before = written()
    space.write_text(SPACE.replace("name: tiny", "name: other"))
    assert f"{out}: holds the study 'tiny', not 'other'" in refused(capsys, space, "--out", out)
    space.write_text(SWEEP)
    assert str(out) in refused(capsys, space, "--out", out)
    assert written() == before


def test_a_folder_is_taken_while_its_search_runs(space: Path, tmp_path: Path) -> None:
    open_study(load_space(space), tmp_path / "out")
    space.write_text(SPACE.replace("name: tiny", "name: other"))
    with pytest.raises(InputError, match="holds the study 'tiny', not 'other'"):
        open_study(load_space(space), tmp_path / "out")


def test_the_same_name_in_another_storage_is_another_study(out: Path, space: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds this study as kept in its study.db, not in sqlite:.*elsewhere.db"):
        open_study(load_space(space), out, storage=f"sqlite:///{tmp_path / 'elsewhere.db'}")


def test_results_of_another_space_are_not_overwritten_where_the_database_is_gone(out: Path, space: Path) -> None:
    (out / "study.db").unlink()
    space.write_text(SPACE.replace("rows: [2, 4]", "rows: [2, 8]"))
    with pytest.raises(InputError, match=r"another space \(hardware.rows: \[2, 4\] before, \[2, 8\] now"):
        open_study(load_space(space), out)


def test_an_older_study_without_a_claim_goes_on(out: Path, space: Path) -> None:
    (out / CLAIM).unlink()
    assert open_study(load_space(space), out).ledger.resumed
    assert json.loads((out / CLAIM).read_text())["study"] == "tiny"


def test_given_formats_of_another_space_are_refused(
    space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    space.write_text(SWEEP)
    command = ["search", str(space), "--out", str(tmp_path / "sweep")]
    assert main(command) == 0
    monkeypatch.setenv("CODESIGN_STORAGE", "sqlite:///nowhere.db")  # means nothing here
    assert main(command) == 0
    capsys.readouterr()
    space.write_text(SWEEP.replace("rows: [8, 16]", "rows: [8, 32]"))
    said = refused(capsys, *command[1:])
    assert "made with another space (hardware.rows: [8, 16] before, [8, 32] now)" in said


def test_new_parent_folders_are_said(space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space.write_text(SWEEP)
    assert main(["search", str(space), "--out", str(tmp_path / "a" / "b" / "study")]) == 0
    assert f"{tmp_path / 'a'}: this folder is new; the study will be in" in capsys.readouterr().err
    assert main(["search", str(space), "--out", str(tmp_path / "a" / "b" / "second")]) == 0
    assert "new" not in capsys.readouterr().err


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_have_the_permissions_that_the_umask_leaves(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_atomic(tmp_path / "file", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "front.json"
    write_atomic(file, "before")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_atomic(file, "after")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("front.json", "before")]
