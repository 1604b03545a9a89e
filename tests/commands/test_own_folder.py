"""The folders of `codesign rtl`, `export` and `calibrate`: their own, or new ones; tests/inputs has those refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codesign.cli import main
from codesign.commands.output import own_folder
from codesign.errors import InputError

UNIT = ["rtl", "int8", "--vectors", "4", "-o"]


def test_a_command_writes_again_into_what_it_wrote(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main([*UNIT, str(out)]) == 0
    assert json.loads((out / "codesign.json").read_text()) == {"written_by": "rtl"}
    (out / "notes.txt").write_text("mine")
    assert main([*UNIT, str(out)]) == 0
    assert (out / "notes.txt").read_text() == "mine"


def test_new_parent_folders_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a" / "b" / "out"
    assert main([*UNIT, str(out)]) == 0
    assert f"{tmp_path / 'a'}: this folder is new; the files will be in {out}" in capsys.readouterr().err


def test_what_ends_with_an_error_goes_on_where_it_wrote_something(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt), own_folder(out, "rtl"):
        raise KeyboardInterrupt
    assert not out.exists()
    with pytest.raises(KeyboardInterrupt), own_folder(out, "rtl"):
        half_written(out)
    with own_folder(out, "rtl"):
        pass
    with pytest.raises(InputError, match=r"out: holds what codesign rtl wrote"), own_folder(out, "export"):
        pass


def half_written(folder: Path) -> None:
    folder.mkdir()
    (folder / "unit.v").write_text("half")
    raise KeyboardInterrupt


def test_a_calibration_of_before_goes_on(tmp_path: Path) -> None:
    """A run that was killed has written no codesign.json."""
    (tmp_path / "results.jsonl").write_text("")
    with own_folder(tmp_path, "calibrate", ["results.jsonl"]):
        pass
