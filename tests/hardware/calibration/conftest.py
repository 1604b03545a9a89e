"""The tiny library on disk, read and merged."""

from __future__ import annotations

from pathlib import Path

import pytest

from codesign.hardware.calibration.liberty.library import Library, read_liberty, write_merged
from codesign.hardware.calibration.synthesis.yosys import Tool, find_yosys
from tests.hardware.calibration import tiny
from tests.programs import needed


@pytest.fixture
def liberty_path(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.lib"
    path.write_text(tiny.library(), encoding="utf-8")
    return path


@pytest.fixture
def library(liberty_path: Path) -> Library:
    return read_liberty(liberty_path)


@pytest.fixture
def merged(liberty_path: Path, tmp_path: Path) -> Path:
    target = tmp_path / "merged.lib"
    write_merged([liberty_path], target)
    return target


@pytest.fixture
def yosys() -> Tool:
    needed("yosys")
    tool = find_yosys("yosys")
    assert tool is not None
    return tool
